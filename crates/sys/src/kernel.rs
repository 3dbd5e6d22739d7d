//! Which kernel this is.

/// The first two numbers of a kernel's release.
pub type Version = (u32, u32);

/// The running kernel's version; (0, 0) when its release names none.
pub fn version() -> Version {
    rustix::system::uname().release().to_str().ok().and_then(parse_version).unwrap_or((0, 0))
}

/// The first two numbers of `6.18.44-x`.
pub fn parse_version(release: &str) -> Option<Version> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_two_numbers_count() {
        for (release, version) in [
            ("6.1.0-56-cloud-amd64", (6, 1)),
            ("5.14.0-362.el9.x86_64", (5, 14)),
            ("6.18-rc1", (6, 18)),
            ("4.8", (4, 8)),
        ] {
            assert_eq!(parse_version(release), Some(version), "{release}");
        }
        for release in ["", "six", "6", "6.x", "v6.1"] {
            assert_eq!(parse_version(release), None, "{release}");
        }
        assert!(version() > (4, 0));
    }
}
