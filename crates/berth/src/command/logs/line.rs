//! A line of a CRI log: `TIME STREAM TAG TEXT`, where the tag P says that the line goes on.

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) time: &'a [u8],
    pub(super) stream: Stream,
    /// Whether the container ended the line here.
    pub(super) complete: bool,
    pub(super) text: &'a [u8],
}

/// Where it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// Parses a line with its newline. A line of another form is plain text.
pub(super) fn parse(raw: &[u8]) -> Line<'_> {
    let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
    fields(raw).unwrap_or(Line { time: b"-", stream: Stream::Stdout, complete: true, text: raw })
}

fn fields(raw: &[u8]) -> Option<Line<'_>> {
    let mut parts = raw.splitn(4, |b| *b == b' ');
    let (time, stream, tag, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let complete = match tag.split(|b| *b == b':').next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(Line { time, stream, complete, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_form_and_others() {
        let line = parse(b"2026-01-01T00:00:00.000000000Z stderr P a b\n");
        assert_eq!((line.stream, line.complete, line.text), (Stream::Stderr, false, &b"a b"[..]));
        let line = parse(b"2026-01-01T00:00:00.000000000Z stdout F \n");
        assert_eq!((line.stream, line.complete, line.text), (Stream::Stdout, true, &b""[..]));
        for other in [&b"free text\n"[..], b"\n", b"t stdout X y\n", b"t stdin F y\n"] {
            assert_eq!(parse(other).text, other.strip_suffix(b"\n").unwrap());
        }
    }
}
