//! From the settings of v1, which the OCI runtime specification uses, to those of v2.
//!
//! The formulas are those of runc (1.3 and later) and crun, so that a container weighs the same
//! under each of them.

/// `cpu.shares` (2 to 262144, usually 1024) as `cpu.weight` (1 to 10000, usually 100). 0 stays 0.
///
/// A quadratic in the logarithm that goes through the least, the usual and the greatest value: the
/// older linear formula made 1024 shares a weight of 39, less than a group without any setting.
pub fn shares_to_weight(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1..=2 => 1,
        262_144.. => 10_000,
        _ => {
            #[allow(clippy::cast_precision_loss, reason = "below 2^18")]
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 10000")]
            let weight = 10f64.powf(exponent).ceil() as u64;
            weight.clamp(1, 10_000)
        }
    }
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000). 0 stays 0.
pub fn blkio_weight_to_io(weight: u16) -> u64 {
    match u64::from(weight) {
        0 => 0,
        weight => 1 + weight.saturating_sub(10) * 9999 / 990,
    }
}

/// Memory and swap together, and memory, as v2's limit of swap alone: -1 is no limit, `None` unset.
/// The reason of a refusal is a sentence.
pub fn swap_to_v2(swap: Option<i64>, limit: Option<i64>) -> Result<Option<i64>, &'static str> {
    let (swap, limit) = (swap.unwrap_or(0), limit.unwrap_or(0));
    match (swap, limit) {
        // As v1 does: without a limit of memory there is none of both together.
        (0, -1) => Ok(Some(-1)),
        (0, _) => Ok(None),
        (-1, _) => Ok(Some(-1)),
        (_, -1) => Ok(Some(swap)),
        (_, 0) => Err("needs a memory limit"),
        _ if swap < 0 || limit < 0 => Err("is negative"),
        _ if swap < limit => {
            Err("counts memory and swap together, so it cannot be less than the limit of memory")
        }
        _ => Ok(Some(swap - limit)),
    }
}
