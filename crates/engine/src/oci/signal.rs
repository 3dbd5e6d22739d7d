//! Stop signals: names and numbers.

use crate::error::EngineError;

/// Names without `SIG`, by number, as Linux has them on every machine that Berth runs on.
const NAMES: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// SIGKILL.
pub(crate) const KILL: i32 = 9;
/// The first and last real-time signal as the C library counts them.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of a signal: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `RTMAX-1`.
pub(crate) fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest, '+').map(|n| RTMIN + n).filter(|n| *n <= RTMAX);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return offset(rest, '-').map(|n| RTMAX - n).filter(|n| *n >= RTMIN);
    }
    let name = match name {
        "CLD" => "CHLD",
        "POLL" => "IO",
        "IOT" => "ABRT",
        other => other,
    };
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

fn offset(rest: &str, sign: char) -> Option<i32> {
    if rest.is_empty() { Some(0) } else { rest.strip_prefix(sign)?.parse().ok().filter(|n| *n >= 0) }
}

/// The name of a signal: `SIGTERM`, `SIGRTMIN+3`.
pub(crate) fn name(number: i32) -> String {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIG{name}"),
        None if number == RTMIN => "SIGRTMIN".to_owned(),
        None if (RTMIN..=RTMAX).contains(&number) => format!("SIGRTMIN+{}", number - RTMIN),
        None => number.to_string(),
    }
}

/// The stop signal of a container: the configuration's, the image's, SIGTERM. A value of the image that
/// is not a signal is skipped; one of the configuration is refused.
pub(crate) fn stop(asked: Option<&str>, image: &str) -> Result<i32, EngineError> {
    match asked.filter(|text| !text.is_empty()) {
        Some(text) => number(text)
            .ok_or_else(|| EngineError::invalid("stop_signal", format!("{text:?} is not a signal"))),
        None => Ok(number(image).unwrap_or(15)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, want) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("SIGRTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("SIGRTMAX", Some(64)),
            ("SIGRTMIN+31", None),
            ("SIGRTMIN-1", None),
            ("0", None),
            ("65", None),
            ("-9", None),
            ("SIGNOTHING", None),
            ("", None),
        ] {
            assert_eq!(number(text), want, "{text}");
        }
        for n in 1..=64 {
            assert!(n == 32 || n == 33 || number(&name(n)) == Some(n), "{n}");
        }
    }

    #[test]
    fn the_configuration_goes_before_the_image() {
        assert_eq!(stop(Some("SIGINT"), "SIGQUIT").unwrap(), 2);
        assert_eq!(stop(None, "SIGQUIT").unwrap(), 3);
        assert_eq!(stop(None, "").unwrap(), 15);
        assert_eq!(stop(None, "nonsense").unwrap(), 15);
        assert!(stop(Some("nonsense"), "").is_err());
    }
}
