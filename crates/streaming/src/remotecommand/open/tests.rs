use super::*;

#[test]
fn a_client_opens_what_was_asked_for_and_sizes_from_v3_on() {
    let all = Wanted { stdin: true, stdout: true, stderr: true };
    assert_eq!(needed(Version::V4, all, false), [Kind::Error, Kind::Stdin, Kind::Stdout, Kind::Stderr]);
    let terminal = Wanted { stdout: true, ..Wanted::default() };
    for (version, sizes) in
        [(Version::V1, false), (Version::V2, false), (Version::V3, true), (Version::V4, true)]
    {
        let needed = needed(version, terminal, true);
        assert_eq!(needed.contains(&Kind::Resize), sizes, "{version:?}");
        assert_eq!(needed.len(), 2 + usize::from(sizes));
    }
}
