//! The text format of Prometheus, read as strictly as its own tools do: what a scraper would refuse or warn of is an error.

use std::collections::{BTreeMap, BTreeSet};

/// A sample's name and labels, as one text, and its value.
pub type Samples = BTreeMap<String, f64>;

/// Reads a text.
///
/// # Errors
/// The line, and what is wrong with it.
pub fn parse(text: &str) -> Result<Samples, String> {
    let (mut samples, mut kinds, mut seen) = (Samples::new(), BTreeMap::new(), BTreeSet::new());
    if !text.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    for line in text.lines() {
        let wrong = |why: &str| format!("{why}: {line}");
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| wrong("no type"))?;
            if kinds.insert(name.to_owned(), kind.to_owned()).is_some() {
                return Err(wrong("a second type"));
            }
            if kind == "counter" && !name.ends_with("_total") {
                return Err(wrong("a counter without _total"));
            }
            continue;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or_else(|| wrong("no help"))?;
            if help.is_empty() || !seen.insert(name.to_owned()) {
                return Err(wrong("help is empty or there twice"));
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').ok_or_else(|| wrong("no value"))?;
        let value: f64 = value.parse().map_err(|_| wrong("no number"))?;
        let (name, labels) = series.split_once('{').map_or((series, None), |(name, rest)| (name, Some(rest)));
        let plain = |name: &str| {
            let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            !name.is_empty() && name.bytes().all(word)
        };
        if !plain(name) {
            return Err(wrong("a strange name"));
        }
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            let family = name.strip_suffix(end)?;
            (kinds.get(family).map(String::as_str) == Some("histogram")).then_some(family)
        });
        if !kinds.contains_key(family.unwrap_or(name)) {
            return Err(wrong("no type before it"));
        }
        if let Some(labels) = labels {
            check_labels(labels).map_err(|why| wrong(&why))?;
        }
        if samples.insert(series.to_owned(), value).is_some() {
            return Err(wrong("there twice"));
        }
    }
    histograms(&samples, &kinds)?;
    Ok(samples)
}

/// `a="b",c="d"}`
fn check_labels(text: &str) -> Result<(), String> {
    let mut rest = text;
    loop {
        let (name, value) = rest.split_once("=\"").ok_or("a label without a value")?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            return Err(format!("a strange label {name:?}"));
        }
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next() {
                Some((at, '"')) => break at,
                Some((_, '\\')) => match chars.next() {
                    Some((_, '\\' | '"' | 'n')) => {}
                    _ => return Err("a strange escape".to_owned()),
                },
                Some(_) => {}
                None => return Err("a value that does not end".to_owned()),
            }
        };
        rest = &value[end + 1..];
        match rest {
            "}" => return Ok(()),
            _ => rest = rest.strip_prefix(',').ok_or("labels that do not end")?,
        }
    }
}

/// Buckets grow, and the last one is the count.
fn histograms(samples: &Samples, kinds: &BTreeMap<String, String>) -> Result<(), String> {
    for family in kinds.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
        for (series, count) in
            samples.iter().filter(|(series, _)| series.starts_with(&format!("{family}_count")))
        {
            let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
            let bucket = format!("{family}_bucket{{{labels}");
            let mut ends: Vec<(f64, f64)> = Vec::new();
            for (series, value) in samples.iter().filter(|(series, _)| series.starts_with(&bucket)) {
                let end = series.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"'));
                let end = end.map(|(end, _)| end.replace("+Inf", "inf")).ok_or("a bucket without an end")?;
                ends.push((end.parse().map_err(|_| format!("a bucket up to {end}"))?, *value));
            }
            ends.sort_by(|a, b| a.0.total_cmp(&b.0));
            let grows = ends.windows(2).all(|pair| pair[0].1 <= pair[1].1);
            if !grows || ends.last() != Some(&(f64::INFINITY, *count)) {
                return Err(format!("the buckets of {series} do not add up: {ends:?}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_right_is_read_and_what_is_wrong_named() {
        let head = "# HELP a_total x\n# TYPE a_total counter\n";
        let read = parse(&format!("{head}a_total{{b=\"c\\\"d\",e=\"\"}} 2\na_total 1\n")).unwrap();
        assert_eq!(read["a_total"], 1.0);
        assert_eq!(read.len(), 2);
        for (text, why) in [
            (format!("{head}a_total 1"), "does not end"),
            (format!("{head}a_total x\n"), "no number"),
            (format!("{head}a_total 1\na_total 2\n"), "there twice"),
            (format!("{head}b 1\n"), "no type"),
            (format!("{head}a_total{{b=\"c}} 1\n"), "does not end"),
            (format!("{head}a_total{{B=\"c\"}} 1\n"), "a strange label"),
            ("# TYPE a counter\n".to_owned(), "without _total"),
            (
                "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_count 1\n".to_owned(),
                "do not add up",
            ),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
