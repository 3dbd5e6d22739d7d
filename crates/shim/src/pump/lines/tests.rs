use super::*;
use proptest::prelude::*;

#[derive(Default)]
struct Kept(Vec<u8>);

impl Sink for Kept {
    fn entries(&mut self, text: &[u8]) {
        assert!(text.ends_with(b"\n"), "entries come whole");
        self.0.extend_from_slice(text);
    }
}

#[derive(Debug, PartialEq, Clone)]
struct Entry {
    stamp: String,
    stream: String,
    tag: String,
    content: Vec<u8>,
}

fn parse(log: &[u8]) -> Vec<Entry> {
    let Some(log) = log.strip_suffix(b"\n") else { return vec![] };
    let word = |w: Option<&[u8]>| String::from_utf8(w.unwrap().to_vec()).unwrap();
    log.split(|b| *b == b'\n')
        .map(|line| {
            let mut parts = line.splitn(4, |b| *b == b' ');
            let (stamp, stream, tag) = (word(parts.next()), word(parts.next()), word(parts.next()));
            Entry { stamp, stream, tag, content: parts.next().unwrap().to_vec() }
        })
        .collect()
}

fn run(terminal: bool, reads: &[(Stream, &[u8])]) -> Vec<Entry> {
    let (mut lines, mut kept) = (Lines::new(terminal), Kept::default());
    for (stream, bytes) in reads {
        lines.push(*stream, bytes, 7, &mut kept);
    }
    lines.end(7, &mut kept);
    parse(&kept.0)
}

fn plain(entries: &[Entry]) -> Vec<(&str, &str, usize)> {
    entries.iter().map(|e| (e.stream.as_str(), e.tag.as_str(), e.content.len())).collect()
}

#[test]
fn a_line_is_one_entry_as_it_stands() {
    let mut kept = Kept::default();
    Lines::new(false).push(Stream::Stderr, b"a b\r\n\n", 1_000_000_000, &mut kept);
    let text = String::from_utf8(kept.0).unwrap();
    assert_eq!(
        text,
        "1970-01-01T00:00:01.000000000Z stderr F a b\r\n1970-01-01T00:00:01.000000001Z stderr F \n"
    );
}

#[test]
fn lines_around_the_limit() {
    let line = |n: usize| [vec![b'x'; n], b"\n".to_vec()].concat();
    let f = |n| ("stdout", "F", n);
    let p = |n| ("stdout", "P", n);
    for (n, expected) in [
        (0, vec![f(0)]),
        (MAX_LINE - 1, vec![f(MAX_LINE - 1)]),
        (MAX_LINE, vec![f(MAX_LINE)]),
        (MAX_LINE + 1, vec![p(MAX_LINE), f(1)]),
        (2 * MAX_LINE, vec![p(MAX_LINE), f(MAX_LINE)]),
        (2 * MAX_LINE + 1, vec![p(MAX_LINE), p(MAX_LINE), f(1)]),
    ] {
        assert_eq!(plain(&run(false, &[(Stream::Stdout, &line(n))])), expected, "{n}");
    }
}

#[test]
fn what_has_no_newline_at_the_end_is_partial() {
    assert_eq!(plain(&run(false, &[(Stream::Stdout, b"abc")])), [("stdout", "P", 3)]);
    let exact = vec![b'x'; MAX_LINE];
    assert_eq!(plain(&run(false, &[(Stream::Stdout, &exact)])), [("stdout", "P", MAX_LINE)]);
    assert_eq!(plain(&run(false, &[(Stream::Stdout, b"a\n")])), [("stdout", "F", 1)]);
    assert_eq!(plain(&run(false, &[])), []);
}

#[test]
fn streams_do_not_mix() {
    let entries = run(
        false,
        &[
            (Stream::Stdout, b"ou"),
            (Stream::Stderr, b"er"),
            (Stream::Stdout, b"t\n"),
            (Stream::Stderr, b"r\n"),
        ],
    );
    let contents: Vec<_> = entries.iter().map(|e| String::from_utf8_lossy(&e.content)).collect();
    assert_eq!(contents, ["out", "err"]);
}

#[test]
fn a_terminals_carriage_return_is_left_out_also_between_reads() {
    let entries = run(true, &[(Stream::Stdout, b"a\r\nb\r"), (Stream::Stdout, b"\nc\rd\r\n\r\n")]);
    let contents: Vec<_> = entries.iter().map(|e| String::from_utf8_lossy(&e.content)).collect();
    assert_eq!(contents, ["a", "b", "c\rd", ""]);
}

#[test]
fn times_of_a_stream_increase_when_the_clock_does_not() {
    let (mut lines, mut kept) = (Lines::new(false), Kept::default());
    for now in [5, 5, 3, 100, 50] {
        lines.push(Stream::Stdout, b"x\n", now, &mut kept);
    }
    let stamps: Vec<String> =
        parse(&kept.0).iter().map(|e| e.stamp[20..29].trim_start_matches('0').to_owned()).collect();
    assert_eq!(stamps, ["5", "6", "7", "100", "101"]);
}

/// What the entries of one stream's whole output must be.
fn model(output: &[u8]) -> Vec<(char, Vec<u8>)> {
    let mut entries = vec![];
    let mut lines: Vec<&[u8]> = output.split(|b| *b == b'\n').collect();
    let unfinished = lines.pop().unwrap();
    let chunks = |line: &[u8]| line.chunks(MAX_LINE).map(<[u8]>::to_vec).collect::<Vec<_>>();
    for line in lines {
        let mut parts = chunks(line);
        let last = parts.pop().unwrap_or_default();
        entries.extend(parts.into_iter().map(|p| ('P', p)));
        entries.push(('F', last));
    }
    entries.extend(chunks(unfinished).into_iter().map(|p| ('P', p)));
    entries
}

/// Pieces of output that make lines short, long and around the limit.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(0u8)], 0..20),
        (MAX_LINE - 2..MAX_LINE + 3).prop_map(|n| vec![b'x'; n]),
        Just(vec![b'\n'; 2000]),
        (1..3 * MAX_LINE).prop_map(|n| vec![b'y'; n]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
    #[test]
    fn any_cutting_of_any_output_gives_the_models_entries(
        pieces in prop::collection::vec((any::<bool>(), piece(), any::<i16>()), 0..12),
    ) {
        let (mut lines, mut kept) = (Lines::new(false), Kept::default());
        let mut whole = [vec![], vec![]];
        for (error, bytes, now) in &pieces {
            let stream = if *error { Stream::Stderr } else { Stream::Stdout };
            whole[usize::from(*error)].extend_from_slice(bytes);
            lines.push(stream, bytes, i64::from(*now) + 40_000, &mut kept);
        }
        lines.end(40_000, &mut kept);
        let entries = parse(&kept.0);
        for (name, output) in ["stdout", "stderr"].iter().zip(&whole) {
            let of: Vec<&Entry> = entries.iter().filter(|e| e.stream == *name).collect();
            let got: Vec<(char, Vec<u8>)> =
                of.iter().map(|e| (e.tag.chars().next().unwrap(), e.content.clone())).collect();
            prop_assert_eq!(got, model(output));
            prop_assert!(of.windows(2).all(|w| w[0].stamp < w[1].stamp));
        }
    }
}
