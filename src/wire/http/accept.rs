//! What of Accept and TE the protocol sheets look at (nchan.md sections 1 and 2).

use super::list;

/// Format of a channel info body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InfoFormat {
    /// Lines of text.
    #[default]
    Plain,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// XML.
    Xml,
}

impl InfoFormat {
    /// The Content-Type that is answered, whatever spelling was asked for (nchan.md section 2).
    pub fn content_type(self) -> &'static str {
        match self {
            InfoFormat::Plain => "text/plain",
            InfoFormat::Json => "text/json",
            InfoFormat::Yaml => "text/yaml",
            InfoFormat::Xml => "text/xml",
        }
    }
}

/// The format of the first media range, in list order and whatever its q, whose subtype under `text/` or
/// `application/` starts with `plain`, `json`, `x-json`, `yaml`, `x-yaml` or `xml`; plain if there is none.
/// Takes the Accept lines of a request.
pub fn info_format<'a>(accept: impl IntoIterator<Item = &'a [u8]>) -> InfoFormat {
    accept.into_iter().flat_map(list::items).find_map(media_format).unwrap_or_default()
}

fn media_format(range: &[u8]) -> Option<InfoFormat> {
    let slash = memchr::memchr(b'/', range)?;
    let (kind, subtype) = (&range[..slash], &range[slash + 1..]);
    if !kind.eq_ignore_ascii_case(b"text") && !kind.eq_ignore_ascii_case(b"application") {
        return None;
    }
    [
        ("plain", InfoFormat::Plain),
        ("json", InfoFormat::Json),
        ("x-json", InfoFormat::Json),
        ("yaml", InfoFormat::Yaml),
        ("x-yaml", InfoFormat::Yaml),
        ("xml", InfoFormat::Xml),
    ]
    .into_iter()
    .find(|(start, _)| subtype.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start.as_bytes())))
    .map(|(_, format)| format)
}

/// Whether an Accept value mentions `media` anywhere (case-insensitive; list structure and q ignored, as
/// nchan does).
pub fn accepts_contains(value: &[u8], media: &[u8]) -> bool {
    !media.is_empty() && value.windows(media.len()).any(|window| window.eq_ignore_ascii_case(media))
}

/// Whether TE lists `chunked` with a q above 0. Takes the TE lines of a request.
pub fn te_chunked<'a>(te: impl IntoIterator<Item = &'a [u8]>) -> bool {
    te.into_iter().flat_map(list::items).any(|item| {
        let (coding, parameters) = list::split_parameters(item);
        let refused = list::parameter(parameters, "q").is_some_and(is_zero_weight);
        coding.eq_ignore_ascii_case(b"chunked") && !refused
    })
}

/// A q of `0`, `0.`, `0.000` (RFC 9110 section 12.4.2).
fn is_zero_weight(q: &[u8]) -> bool {
    q.first() == Some(&b'0') && q.iter().all(|byte| *byte == b'0' || *byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_media_range_wins() {
        for (accept, expected) in [
            ("", InfoFormat::Plain),
            ("*/*", InfoFormat::Plain),
            ("application/json", InfoFormat::Json),
            ("text/html, text/x-json;q=0.1, text/plain", InfoFormat::Json),
            ("image/xml, application/x-yaml", InfoFormat::Yaml),
            ("application/xml+foo", InfoFormat::Xml),
            ("application/xhtml+xml, text/plain, text/xml", InfoFormat::Plain),
            ("TEXT/YAML", InfoFormat::Yaml),
            ("json", InfoFormat::Plain),
        ] {
            assert_eq!(info_format([accept.as_bytes()]), expected, "{accept}");
        }
        assert_eq!(info_format([b"a/b".as_slice(), b"text/xml"]), InfoFormat::Xml);
        assert_eq!(info_format([]), InfoFormat::Plain);
    }

    #[test]
    fn event_streams_are_found_anywhere() {
        assert!(accepts_contains(b"a/b, Text/Event-Stream;q=0", b"text/event-stream"));
        assert!(!accepts_contains(b"text/event", b"text/event-stream"));
        assert!(!accepts_contains(b"", b"text/event-stream"));
    }

    #[test]
    fn te_needs_chunked_with_a_weight() {
        for (te, expected) in [
            ("chunked", true),
            ("trailers, Chunked;q=0.5", true),
            ("chunked;q=0", false),
            ("chunked; q=0.000", false),
            ("chunked;q=0.001", true),
            ("trailers", false),
            ("", false),
        ] {
            assert_eq!(te_chunked([te.as_bytes()]), expected, "{te}");
        }
    }
}
