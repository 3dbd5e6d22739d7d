//! Host names as pods may have them.

/// The longest label (RFC 1123) in bytes.
pub const MAX_LABEL: usize = 63;
/// The longest name that the kernel takes (`__NEW_UTS_LEN`) in bytes.
pub const MAX_HOSTNAME: usize = 64;

/// A text that cannot be the host name of a pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a host name: {reason}")]
pub struct HostnameError {
    /// What was given.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Checks a host name by RFC 1123 and by what the kernel takes: labels of letters, digits and
/// hyphens, each at most 63 bytes long and not beginning or ending with a hyphen, separated by
/// single dots, 64 bytes in all.
pub fn check(name: &str) -> Result<(), HostnameError> {
    let error = |reason| Err(HostnameError { name: name.to_owned(), reason });
    if name.is_empty() {
        return error("it is empty");
    }
    if name.len() > MAX_HOSTNAME {
        return error("it is longer than 64 bytes");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return error("a part between dots is empty");
        }
        if label.len() > MAX_LABEL {
            return error("a part is longer than 63 bytes");
        }
        if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return error("only letters, digits, hyphens and dots are allowed");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return error("a part begins or ends with a hyphen");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rfc_1123_pass() {
        for name in ["a", "web-0", "0", "Web", "web.example.org", &"a".repeat(63)] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        let dotted = format!("{}.{}", "a".repeat(32), "b".repeat(32));
        for (name, reason) in [
            ("", "it is empty"),
            (&*"a".repeat(65), "it is longer than 64 bytes"),
            (&*dotted, "it is longer than 64 bytes"),
            (&*"a".repeat(64), "a part is longer than 63 bytes"),
            ("a..b", "a part between dots is empty"),
            (".", "a part between dots is empty"),
            ("a_b", "only letters, digits, hyphens and dots are allowed"),
            ("a\nb", "only letters, digits, hyphens and dots are allowed"),
            ("-a", "a part begins or ends with a hyphen"),
            ("a-.b", "a part begins or ends with a hyphen"),
        ] {
            assert_eq!(check(name).unwrap_err().reason, reason, "{name}");
        }
    }
}
