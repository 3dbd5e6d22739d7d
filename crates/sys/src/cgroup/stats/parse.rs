//! The formats of the kernel's files: pure.

use super::{BlockIo, Pressure, Stall};

/// v1 writes no limit as the greatest number of whole pages.
pub(super) fn limit(value: u64) -> Option<u64> {
    (value < (1 << 62)).then_some(value)
}

/// The value behind a name in a flat keyed file.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The text of a `*.pressure` file.
pub(super) fn parse_pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut stall = Stall::default();
        let mut words = line.split(' ');
        let kind = words.next();
        for (name, value) in words.filter_map(|w| w.split_once('=')) {
            match name {
                "avg10" => stall.avg10 = hundredths(value),
                "avg60" => stall.avg60 = hundredths(value),
                "avg300" => stall.avg300 = hundredths(value),
                "total" => stall.total_us = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        match kind {
            Some("some") => pressure.some = stall,
            Some("full") => pressure.full = stall,
            _ => {}
        }
    }
    pressure
}

/// `12.34` as 1234.
fn hundredths(text: &str) -> u32 {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let whole: u32 = whole.parse().unwrap_or(0);
    whole.saturating_mul(100).saturating_add(part.parse().unwrap_or(0))
}

/// `8:16` as its numbers.
fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The entry of a device in a list, made where it is new.
fn entry(list: &mut Vec<BlockIo>, (major, minor): (u32, u32)) -> &mut BlockIo {
    let at = list.iter().position(|io| (io.major, io.minor) == (major, minor)).unwrap_or_else(|| {
        list.push(BlockIo { major, minor, ..BlockIo::default() });
        list.len() - 1
    });
    &mut list[at]
}

/// The text of `io.stat` (v2).
pub(super) fn io_stat(text: &str) -> Vec<BlockIo> {
    let mut list = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(numbers) = words.next().and_then(device) else { continue };
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            let io = entry(&mut list, numbers);
            match name {
                "rbytes" => io.read_bytes = value,
                "wbytes" => io.written_bytes = value,
                "rios" => io.reads = value,
                "wios" => io.writes = value,
                _ => {}
            }
        }
    }
    list
}

/// The texts of `blkio.throttle.io_service_bytes` and `blkio.throttle.io_serviced` (v1).
pub(super) fn blkio(bytes: &str, operations: &str) -> Vec<BlockIo> {
    let mut list = Vec::new();
    for (text, counts_bytes) in [(bytes, true), (operations, false)] {
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let Some(numbers) = words.next().and_then(device) else { continue };
            let Some((kind, Ok(value))) = words.next().zip(words.next().map(str::parse)) else { continue };
            match (kind, counts_bytes) {
                ("Read", true) => entry(&mut list, numbers).read_bytes = value,
                ("Write", true) => entry(&mut list, numbers).written_bytes = value,
                ("Read", false) => entry(&mut list, numbers).reads = value,
                ("Write", false) => entry(&mut list, numbers).writes = value,
                _ => {}
            }
        }
    }
    list
}
