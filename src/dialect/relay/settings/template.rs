//! The syntax of templates: text with `$variables`, as in nginx configuration.

use std::fmt;

/// A part of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Literal text, not empty.
    Text(&'a str),
    /// The regular expression's group 1 to 9, or for `$1` what follows the prefix.
    Group(u8),
    /// A named group or variable, without `$` and braces.
    Variable(&'a str),
}

/// Why a text is not a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// `$` at this byte is followed by neither a digit 1 to 9, a name, `{name}` nor another `$`.
    NoName(usize),
    /// `${` at this byte has no name or is not closed.
    Unclosed(usize),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TemplateError::NoName(_) => {
                write!(out, "`$` needs 1 to 9, a name or `{{name}}`; write `$$` for a dollar")
            }
            TemplateError::Unclosed(_) => write!(out, "`${{` needs a name and `}}`"),
        }
    }
}

/// Cuts a template into its parts: `$1`..`$9`, `$name` and `${name}` (letters, digits, `_`), and `$$` for a dollar.
/// Which names exist is the reader's business: `$arg_x` is a raw query argument, `$http_x` a request header.
pub fn pieces(template: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut found = Vec::new();
    let mut rest = template;
    while let Some(dollar) = rest.find('$') {
        let offset = template.len() - rest.len() + dollar;
        let after = &rest[dollar + 1..];
        let (piece, used) = match after.as_bytes().first() {
            Some(b'$') => (Piece::Text(&after[..1]), 1),
            Some(digit @ b'1'..=b'9') => (Piece::Group(digit - b'0'), 1),
            Some(b'{') => braced(after).ok_or(TemplateError::Unclosed(offset))?,
            _ => match name_length(after) {
                0 => return Err(TemplateError::NoName(offset)),
                length => (Piece::Variable(&after[..length]), length),
            },
        };
        if dollar > 0 {
            found.push(Piece::Text(&rest[..dollar]));
        }
        found.push(piece);
        rest = &after[used..];
    }
    if !rest.is_empty() {
        found.push(Piece::Text(rest));
    }
    Ok(found)
}

/// Reads `{name}` or `{3}`; returns the part and the bytes used.
fn braced(after: &str) -> Option<(Piece<'_>, usize)> {
    let close = after.find('}')?;
    let name = &after[1..close];
    match name.as_bytes() {
        [digit @ b'1'..=b'9'] => Some((Piece::Group(digit - b'0'), close + 1)),
        _ if !name.is_empty() && name_length(name) == name.len() => Some((Piece::Variable(name), close + 1)),
        _ => None,
    }
}

/// Bytes of the name at the beginning of `text`; 0 when there is none or it begins with a digit.
fn name_length(text: &str) -> usize {
    if text.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        return 0;
    }
    text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
}

/// The variables that templates may name besides groups of the path.
pub mod variables {
    /// Known from the request. Besides these, `arg_NAME` is the raw value of a query argument and `http_NAME` the
    /// request header of that name (lower case, `_` for `-`).
    pub const REQUEST: [&str; 6] = ["remote_addr", "host", "request_method", "request_uri", "uri", "args"];

    /// Known once a channel is: in `channel_event_string` and `hook_headers`. Each may also be written with nchan's
    /// prefix, `nchan_channel_id`. `channel_id1` to `channel_id4` are the single ids of a multi-channel request.
    pub const CHANNEL: [&str; 12] = [
        "channel_id",
        "channel_id1",
        "channel_id2",
        "channel_id3",
        "channel_id4",
        "channel_event",
        "channel_subscriber_count",
        "channel_message_count",
        "subscriber_type",
        "publisher_type",
        "message_id",
        "prev_message_id",
    ];

    /// Whether a template may name `name`; `about_channel` where the variables of a channel exist.
    pub fn known(name: &str, about_channel: bool) -> bool {
        let prefixed = |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
        let channel = name.strip_prefix("nchan_").unwrap_or(name);
        REQUEST.contains(&name)
            || prefixed("arg_")
            || prefixed("http_")
            || about_channel && CHANNEL.contains(&channel)
    }

    /// All of them, for suggestions.
    pub fn all(about_channel: bool) -> impl Iterator<Item = &'static str> {
        REQUEST.into_iter().chain(CHANNEL.into_iter().filter(move |_| about_channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_groups_and_text_come_out_in_order() {
        use Piece::*;
        assert_eq!(pieces("").unwrap(), []);
        assert_eq!(pieces("a$1b").unwrap(), [Text("a"), Group(1), Text("b")]);
        assert_eq!(pieces("$arg_id").unwrap(), [Variable("arg_id")]);
        assert_eq!(pieces("${room}_$2").unwrap(), [Variable("room"), Text("_"), Group(2)]);
        assert_eq!(pieces("$12").unwrap(), [Group(1), Text("2")]);
        assert_eq!(pieces("${9}$$é").unwrap(), [Group(9), Text("$"), Text("é")]);
    }

    #[test]
    fn a_dollar_that_says_nothing_is_refused_where_it_stands() {
        assert_eq!(pieces("ab$"), Err(TemplateError::NoName(2)));
        assert_eq!(pieces("$0"), Err(TemplateError::NoName(0)));
        assert_eq!(pieces("x$-"), Err(TemplateError::NoName(1)));
        for unclosed in ["${", "${}", "${a b}", "${1x}", "${a"] {
            assert_eq!(pieces(unclosed), Err(TemplateError::Unclosed(0)), "{unclosed}");
        }
    }
}
