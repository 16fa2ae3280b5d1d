//! The little HTTP/1.1 the client needs: reading heads and the bodies of answers.

/// Longest head accepted from a server, bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// Length of the head at the start of `buffer` with its blank line; None if it is not complete.
pub fn head_length(buffer: &[u8]) -> Option<usize> {
    buffer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// Value of a header in a head, without the blanks around it. Names are compared without case.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Status code of a response head.
pub fn status(head: &str) -> Option<u16> {
    let rest = head.strip_prefix("HTTP/1.")?;
    rest.get(2..5)?.parse().ok()
}

/// Reads the answer at the start of `buffer`: status code and length of all of it, None if it is not complete.
/// An answer that cannot be understood is an error.
pub fn next_answer(buffer: &[u8]) -> Result<Option<(u16, usize)>, String> {
    let Some(head_bytes) = head_length(buffer) else {
        return if buffer.len() > HEAD_BYTES { Err("answer head too long".to_owned()) } else { Ok(None) };
    };
    let head = std::str::from_utf8(&buffer[..head_bytes]).map_err(|_| "answer head is not text")?;
    let line = head.lines().next().unwrap_or_default();
    let status = status(head).ok_or_else(|| format!("not an HTTP answer: {line}"))?;
    let body = &buffer[head_bytes..];
    let body_bytes = if status == 204 || status == 304 || (100..200).contains(&status) {
        Some(0)
    } else if let Some(length) = header(head, "content-length") {
        let length: usize = length.parse().map_err(|_| format!("bad content length: {length}"))?;
        (body.len() >= length).then_some(length)
    } else if header(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        chunked_length(body)?
    } else {
        return Err(format!("answer without a length: {line}"));
    };
    Ok(body_bytes.map(|bytes| (status, head_bytes + bytes)))
}

/// Length of a whole chunked body, None if it is not complete. Trailers are not expected.
fn chunked_length(body: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(line) = body[at..].windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&body[at..at + line]).unwrap_or_default();
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("bad chunk size: {size}"))?;
        let end = size.checked_add(at + line + 4).ok_or_else(|| format!("bad chunk size: {size}"))?;
        if end > body.len() {
            return Ok(None);
        }
        at = end;
        if size == 0 {
            return Ok(Some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_only_when_complete() {
        let answers: [(&[u8], u16); 4] = [
            (b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok", 201),
            (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
            (b"HTTP/1.1 202 Accepted\r\ncontent-LENGTH:0\r\n\r\n", 202),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\na;x=y\r\n0123456789\r\n0\r\n\r\n", 200),
        ];
        for (bytes, status) in answers {
            for cut in 0..bytes.len() {
                assert_eq!(next_answer(&bytes[..cut]), Ok(None), "{status} cut at {cut}");
            }
            let twice = [bytes, bytes].concat();
            assert_eq!(next_answer(&twice), Ok(Some((status, bytes.len()))));
        }
    }

    #[test]
    fn answers_that_cannot_be_read_are_errors() {
        for bytes in [
            &b"SSH-2.0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            b"HTTP/1.1 2\r\n\r\n",
        ] {
            assert!(next_answer(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        assert!(next_answer(&[b'x'; HEAD_BYTES + 1]).is_err());
    }
}
