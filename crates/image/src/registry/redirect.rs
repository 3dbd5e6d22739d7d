//! Where a `Location` leads, as RFC 3986 (section 5) resolves a reference against the URL that it came from.

/// The reference against `base`, without its fragment. `None` when the base is not a URL with a host.
pub(super) fn resolve(base: &str, reference: &str) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or_default();
    let (scheme, rest) = base.split_once("://")?;
    let (authority, path, query) = parts(rest);
    if let Some(rest) = reference.strip_prefix("//") {
        return Some(join(scheme, rest));
    }
    if let Some((other, rest)) = scheme_of(reference) {
        // Without an authority it is not the URL of a host: the caller refuses it.
        return Some(rest.strip_prefix("//").map_or_else(|| reference.to_owned(), |rest| join(other, rest)));
    }
    let (to, to_query) = reference.split_once('?').map_or((reference, None), |(p, q)| (p, Some(q)));
    let (path, query) = match to {
        "" => (path.to_owned(), to_query.or(query)),
        to if to.starts_with('/') => (without_dots(to), to_query),
        to => {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            (without_dots(&format!("{parent}/{to}")), to_query)
        }
    };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{scheme}://{authority}{path}{query}"))
}

/// A URL of its scheme and what follows the two slashes.
fn join(scheme: &str, rest: &str) -> String {
    let (authority, path, query) = parts(rest);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{authority}{}{query}", without_dots(path))
}

/// Authority, path and query.
fn parts(rest: &str) -> (&str, &str, Option<&str>) {
    let (before, query) = rest.split_once('?').map_or((rest, None), |(before, query)| (before, Some(query)));
    let (authority, path) = before.split_at(before.find('/').unwrap_or(before.len()));
    (authority, path, query)
}

/// The scheme that a reference begins with, and what follows the colon.
fn scheme_of(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let first = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let good = first && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    good.then_some((scheme, rest))
}

/// Removes `.` and `..` segments (section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3986, 5.4, as far as they are URLs of a host.
    #[test]
    fn references_are_resolved_as_the_standard_says() {
        for (reference, wanted) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("g?u=http://x", "http://a/b/c/g?u=http://x"),
            ("https://h/x/../y?z", "https://h/y?z"),
            ("https://h", "https://h/"),
            ("mailto:x", "mailto:x"),
        ] {
            assert_eq!(resolve("http://a/b/c/d;p?q", reference).as_deref(), Some(wanted), "{reference:?}");
        }
        assert_eq!(resolve("http://a", "g").as_deref(), Some("http://a/g"));
        assert_eq!(resolve("no url", "g"), None);
    }
}
