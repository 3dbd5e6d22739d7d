//! `WWW-Authenticate` headers (RFC 9110, 11.6.1): several challenges in one line or several
//! lines, parameters quoted or not, commas inside quotes.

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// The scheme in lower case.
    pub(super) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter, by its lower-case name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The most challenges and parameters looked at.
const MAX_PARTS: usize = 64;

/// The challenges in one header value; what cannot be understood ends the reading.
pub(super) fn parse(value: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = value;
    for _ in 0..MAX_PARTS {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() {
            break;
        }
        let next = after.trim_start_matches([' ', '\t']);
        // `name = value` is a parameter of the challenge before it; a bare word begins another.
        if let (Some(value), Some(challenge)) = (next.strip_prefix('='), challenges.last_mut()) {
            let (value, tail) = parameter(value.trim_start_matches([' ', '\t']));
            challenge.parameters.push((word.to_ascii_lowercase(), value));
            rest = tail;
        } else {
            challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
            rest = after;
        }
    }
    challenges
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

fn token(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

/// A token or a quoted string, and what follows it. An unended quote takes the rest.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        // More lenient than the grammar: some servers leave quotes off URLs.
        let (value, rest) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_challenge_with_commas_inside_quotes() {
        let all = parse(
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
        );
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].scheme, "bearer");
        assert_eq!(all[0].get("realm"), Some("https://auth.example/token"));
        assert_eq!(all[0].get("scope"), Some("repository:a/b:pull,push"));
        assert_eq!(all[0].get("error"), None);
    }

    #[test]
    fn several_challenges_in_one_line() {
        let all = parse(r#"Negotiate, Basic realm="a \"b\", c", Bearer realm=https://x/y , service = z"#);
        let schemes: Vec<&str> = all.iter().map(|c| c.scheme.as_str()).collect();
        assert_eq!(schemes, ["negotiate", "basic", "bearer"]);
        assert_eq!(all[1].get("realm"), Some(r#"a "b", c"#));
        assert_eq!(all[2].get("realm"), Some("https://x/y"));
        assert_eq!(all[2].get("service"), Some("z"));
    }

    #[test]
    fn rubbish_gives_nothing_or_little_and_ends() {
        for text in ["", ",,,", "=", "\"", "Bearer realm=\"unended", "Bearer =x", "\u{e9}"] {
            assert!(parse(text).len() <= 2, "{text:?}");
        }
        assert!(parse(&"a ".repeat(10_000)).len() <= MAX_PARTS);
    }
}
