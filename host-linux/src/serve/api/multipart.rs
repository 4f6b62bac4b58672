//! Bodies of forms with files (`multipart/form-data`, RFC 7578). The body is in memory, and so are
//! its parts: they are pieces of it.
use crate::serve::error::ApiError;
use httparse::{EMPTY_HEADER, Status};

/// Parts of a form, at most.
const PARTS_MAX: usize = 32;
/// Headers of a part, at most.
const HEADERS_MAX: usize = 16;
/// Characters of a boundary, as the standard bounds it.
const BOUNDARY_MAX: usize = 70;

/// A part of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part<'b> {
    /// The name of the field.
    pub(super) name: String,
    /// The name of the file, if it is one.
    pub(super) filename: Option<String>,
    /// The bytes between its headers and the next boundary.
    pub(super) bytes: &'b [u8],
}

fn wrong(what: &str) -> ApiError {
    ApiError::invalid("", format!("the body is no form: {what}"))
}

/// The parts of a body, whose `Content-Type` tells what stands between them.
pub(super) fn parts<'b>(content_type: &str, body: &'b [u8]) -> Result<Vec<Part<'b>>, ApiError> {
    let boundary = parameter(content_type, "boundary").unwrap_or_default();
    if !(1..=BOUNDARY_MAX).contains(&boundary.len()) {
        return Err(wrong("its Content-Type has no boundary of 1 to 70 characters"));
    }
    // Each boundary but the first comes behind a line end, which belongs to it.
    let first = format!("--{boundary}");
    let between = format!("\r\n{first}");
    let start = if body.starts_with(first.as_bytes()) {
        first.len()
    } else {
        find(body, between.as_bytes()).ok_or_else(|| wrong("its boundary is missing"))? + between.len()
    };
    let (mut rest, mut parts) = (&body[start..], Vec::new());
    loop {
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        // Blanks may stand behind a boundary.
        let line = find(rest, b"\r\n").ok_or_else(|| wrong("it ends within a boundary"))?;
        if parts.len() == PARTS_MAX || !rest[..line].iter().all(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(wrong("it has too many parts, or text behind a boundary"));
        }
        rest = &rest[line + 2..];
        let end = find(rest, between.as_bytes()).ok_or_else(|| wrong("it ends within a part"))?;
        parts.push(part(&rest[..end])?);
        rest = &rest[end + between.len()..];
    }
}

fn part(bytes: &[u8]) -> Result<Part<'_>, ApiError> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let parsed = httparse::parse_headers(bytes, &mut headers);
    let Ok(Status::Complete((length, headers))) = parsed else {
        return Err(wrong("a part of it has no headers"));
    };
    let disposition = headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-disposition"));
    let disposition = String::from_utf8_lossy(disposition.map_or(b"", |header| header.value));
    let name = parameter(&disposition, "name").ok_or_else(|| wrong("a part of it has no name"))?;
    let filename = parameter(&disposition, "filename");
    Ok(Part { name, filename, bytes: &bytes[length..] })
}

/// The value of a parameter behind the first word of a header, with or without quotes.
fn parameter(header: &str, name: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, behind) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim_end().to_owned(), &after[end..])
            }
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = behind.split_once(';')?.1;
    }
}

/// A text up to the quote that ends it, and what stands behind that.
fn unquote(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => value.push(chars.next()?.1),
            (_, c) => value.push(c),
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let (first, mut from) = (*what.first()?, 0);
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == first)?;
        if bytes[at..].starts_with(what) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"1 b\"";

    fn form(parts: &[&str]) -> String {
        let all: String = parts.iter().map(|part| format!("--1 b\r\n{part}\r\n")).collect();
        format!("{all}--1 b--\r\n")
    }

    #[test]
    fn parts_are_pieces_of_the_body() {
        let purpose = "Content-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch";
        let file = "content-disposition: form-data; name=file; filename=\"x \\\"y\\\";z.jsonl\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n{\"a\": 1}\r\n--1\r\n\r\n--1 c\r\n";
        let text = form(&[purpose, file]);
        let found = parts(TYPE, text.as_bytes()).expect("a form");
        let expected = [
            Part { name: "purpose".to_owned(), filename: None, bytes: b"batch" },
            Part {
                name: "file".to_owned(),
                filename: Some("x \"y\";z.jsonl".to_owned()),
                bytes: b"{\"a\": 1}\r\n--1\r\n\r\n--1 c\r\n",
            },
        ];
        assert_eq!(found, expected);
        let with_preamble = format!("to be ignored\r\n{text}and this");
        assert_eq!(parts(TYPE, with_preamble.as_bytes()).expect("a form"), expected);
        assert_eq!(parts("multipart/form-data;boundary=7", b"--7--"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let whole = form(&["Content-Disposition: form-data; name=\"a\"\r\n\r\nb"]);
        for end in 0..whole.len() - 4 {
            assert!(parts(TYPE, &whole.as_bytes()[..end]).is_err(), "cut at {end}");
        }
        for content_type in ["multipart/form-data", "multipart/form-data; boundary=", "x; boundary=\"1 b"] {
            assert!(parts(content_type, whole.as_bytes()).is_err(), "{content_type}");
        }
        for part in ["\r\nb", "Content-Disposition: form-data\r\n\r\nb", "name=\"a\"\r\n\r\nb", ""] {
            assert!(parts(TYPE, form(&[part]).as_bytes()).is_err(), "{part}");
        }
        let many = vec!["Content-Disposition: form-data; name=\"a\"\r\n\r\nb"; PARTS_MAX + 1];
        assert!(parts(TYPE, form(&many).as_bytes()).is_err());
    }
}
