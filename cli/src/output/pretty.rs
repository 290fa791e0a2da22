//! JSON text indented, its keys and numbers as they stand: nothing is parsed, so nothing can be lost.

/// Indents JSON text by two.
pub fn json(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len() * 2);
    let mut depth = 0;
    let mut in_string = false;
    let mut escaped = false;
    for (at, &byte) in text.iter().enumerate() {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => {
                in_string = true;
                out.push(byte);
            }
            b'{' | b'[' => {
                out.push(byte);
                depth += 1;
                if !closes(next_byte(text, at)) {
                    new_line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth -= 1;
                if !matches!(out.last(), Some(b'{' | b'[')) {
                    new_line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                new_line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\t' | b'\n' | b'\r' => {}
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn next_byte(text: &[u8], at: usize) -> Option<u8> {
    text[at + 1..].iter().copied().find(|b| !b.is_ascii_whitespace())
}

fn closes(byte: Option<u8>) -> bool {
    matches!(byte, Some(b'}' | b']'))
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b' ', depth * 2));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_indented_and_otherwise_kept() {
        let shown = json(br#"{"b":[1.0,{"x":"a,\"{"}],"a":{}, "c":[ ]}"#);
        assert_eq!(
            shown,
            "{\n  \"b\": [\n    1.0,\n    {\n      \"x\": \"a,\\\"{\"\n    }\n  ],\n  \"a\": {},\n  \"c\": []\n}"
        );
    }
}
