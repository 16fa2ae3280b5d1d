//! Server-sent events (WHATWG HTML, section 9.2) as the sheets have them (nchan.md section 4, EventSource).

use memchr::memchr2_iter;

/// Content type of an event stream.
pub const CONTENT_TYPE: &str = "text/event-stream; charset=utf-8";
/// The comment that opens a stream, whole.
pub const HELLO: &[u8] = b": hi\n\n";

/// Appends one event: `event:` if named, then `id:` if given, then one `data: ` line for each line of the
/// data. An empty message is one empty `data: ` line; a newline at the end gives an empty last line. A CR before a
/// newline or at the end is passed through. Any other CR is a newline: a client takes it for one, and what is behind it
/// would be a field of the publisher's choice, or an event of its own (nchan passes it through). CR, LF and NUL in
/// name and id are left out. An empty name or id counts as none.
pub fn event(out: &mut Vec<u8>, name: Option<&[u8]>, id: Option<&[u8]>, data: &[u8]) {
    out.reserve(data.len() + 64);
    field(out, b"event: ", name.unwrap_or_default());
    field(out, b"id: ", id.unwrap_or_default());
    data_lines(out, data);
    out.push(b'\n');
}

fn data_lines(out: &mut Vec<u8>, data: &[u8]) {
    let mut start = 0;
    for end in memchr2_iter(b'\n', b'\r', data).chain([data.len()]) {
        if data.get(end) == Some(&b'\r') && matches!(data.get(end + 1), None | Some(b'\n')) {
            continue; // the line's end takes it in
        }
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&data[start..end]);
        out.push(b'\n');
        start = end + 1;
    }
}

/// Reads an event stream as far as messages go: names and retry times do not matter. Its caller cuts the lines, at LF
/// or CR LF.
#[derive(Debug, Default)]
pub struct EventReader {
    id: String,
    data: Option<Vec<u8>>,
}

impl EventReader {
    /// Takes a line without its end; returns the data of an event that it ends.
    pub fn line(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        if line.is_empty() {
            return self.data.take();
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"id" => self.id = String::from_utf8_lossy(value).into_owned(),
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            _ => {}
        }
        None
    }

    /// Id of the last event that had one.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Appends a one-line field without what would end its line; nothing when the value is empty.
fn field(out: &mut Vec<u8>, label: &[u8], value: &[u8]) {
    if value.is_empty() {
        return;
    }
    out.extend_from_slice(label);
    put_stripped(out, value);
    out.push(b'\n');
}

fn put_stripped(out: &mut Vec<u8>, value: &[u8]) {
    out.extend(value.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
}

/// Appends how long a client shall wait before it connects again, milliseconds. It keeps to it until told otherwise.
pub fn retry(out: &mut Vec<u8>, ms: u64) {
    out.extend_from_slice(b"retry: ");
    out.extend_from_slice(ms.to_string().as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// Appends a comment and the blank line behind it: `comment(out, b"410: 410 Gone")` gives `:410: 410 Gone`.
/// CR, LF and NUL are left out.
pub fn comment(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b':');
    put_stripped(out, text);
    out.extend_from_slice(b"\n\n");
}

/// Appends a ping: comment, event name and data, each only when set; `:` alone when none is.
pub fn ping(out: &mut Vec<u8>, comment_text: Option<&[u8]>, name: Option<&[u8]>, data: Option<&[u8]>) {
    if comment_text.is_none() && name.is_none() && data.is_none() {
        return comment(out, b"");
    }
    if let Some(text) = comment_text {
        out.push(b':');
        put_stripped(out, text);
        out.push(b'\n');
    }
    field(out, b"event: ", name.unwrap_or_default());
    if let Some(data) = data {
        data_lines(out, data);
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: Option<&str>, id: Option<&str>, data: &str) -> String {
        let mut out = Vec::new();
        event(&mut out, name.map(str::as_bytes), id.map(str::as_bytes), data.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn events_have_name_id_and_data_in_this_order() {
        assert_eq!(
            one(Some("upd"), Some("1795257031:1"), "{\"a\":1}"),
            "event: upd\nid: 1795257031:1\ndata: {\"a\":1}\n\n"
        );
        assert_eq!(one(None, None, "x"), "data: x\n\n");
    }

    #[test]
    fn each_line_of_data_is_its_own_line() {
        assert_eq!(one(None, None, ""), "data: \n\n");
        assert_eq!(one(None, None, "a\nb"), "data: a\ndata: b\n\n");
        assert_eq!(one(None, None, "a\n"), "data: a\ndata: \n\n");
        assert_eq!(one(None, None, "\n\n"), "data: \ndata: \ndata: \n\n");
        assert_eq!(one(None, None, "a\r\nb"), "data: a\r\ndata: b\n\n");
        assert_eq!(one(None, None, "a\r"), "data: a\r\n\n");
        assert_eq!(one(None, None, "\r\r\nb"), "data: \ndata: \r\ndata: b\n\n");
    }

    #[test]
    fn data_cannot_add_fields_or_events() {
        assert_eq!(
            one(None, Some("1"), "a\rid: 9\r\rdata: b"),
            "id: 1\ndata: a\ndata: id: 9\ndata: \ndata: data: b\n\n"
        );
    }

    #[test]
    fn events_come_out_with_their_ids() {
        let mut reader = EventReader::default();
        let mut events = Vec::new();
        for line in ": hi||event: upd|id: 1:0|data: a|data: b||id|data||event: ping||data:x|".split('|') {
            if let Some(data) = reader.line(line.as_bytes()) {
                events.push((reader.id().to_owned(), String::from_utf8(data).unwrap()));
            }
        }
        let expected = [("1:0", "a\nb"), ("", ""), ("", "x")];
        assert_eq!(events, expected.map(|(id, data)| (id.to_owned(), data.to_owned())));
    }

    #[test]
    fn names_and_ids_cannot_add_lines() {
        assert_eq!(one(Some("a\r\ndata: b"), Some("1\n\0x2"), "x"), "event: adata: b\nid: 1x2\ndata: x\n\n");
        assert_eq!(one(Some(""), Some(""), "x"), "data: x\n\n");
    }

    #[test]
    fn comments_and_pings() {
        let mut out = Vec::new();
        comment(&mut out, b" hi");
        assert_eq!(out, HELLO);
        out.clear();
        comment(&mut out, b"410: 410\n Gone");
        assert_eq!(out, b":410: 410 Gone\n\n");

        let ping_text = |text: Option<&[u8]>, name: Option<&[u8]>, data: Option<&[u8]>| {
            let mut out = Vec::new();
            ping(&mut out, text, name, data);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(ping_text(None, Some(b"ping"), None), "event: ping\n\n");
        assert_eq!(ping_text(None, None, None), ":\n\n");
        assert_eq!(ping_text(Some(b"c"), Some(b"e"), Some(b"d")), ":c\nevent: e\ndata: d\n\n");
    }
}
