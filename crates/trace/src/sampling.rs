//! Which calls are told: those whose caller keeps its trace, and a part of those that begin one.

use berth_types::trace::{Context, SpanId, TraceId};
use rustix::rand::{GetRandomFlags, getrandom};

#[cfg(test)]
mod tests;

/// The part of the traces that begin here which is told, from 0 to 1: in parts of 2^63.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio(u64);

impl Ratio {
    /// All of them.
    pub const ALL: Self = Self(1 << 63);

    /// None for what is no such part.
    pub fn new(ratio: f64) -> Option<Self> {
        let is_part = (0.0..=1.0).contains(&ratio);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is not less than 0")]
        is_part.then_some(Self((ratio * Self::ALL.0 as f64) as u64))
    }

    /// Whether a trace of this number is told: decided by 63 of the last 64 bits, as OpenTelemetry's TraceIdRatioBased does.
    fn takes(self, trace: TraceId) -> bool {
        let [_, _, _, _, _, _, _, _, last @ ..] = trace.0;
        u64::from_be_bytes(last) >> 1 < self.0
    }
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// It is a span of this trace, part of that span of its caller.
    Told(TraceId, Option<SpanId>),
    /// Nothing is told of it.
    Untold,
}

impl Sampling {
    /// The caller decides where it has a trace.
    pub fn of(parent: Option<Context>, ratio: Ratio) -> Self {
        match parent {
            Some(parent) if parent.sampled => Self::Told(parent.trace, Some(parent.span)),
            Some(_) => Self::Untold,
            None => {
                let trace = fresh_trace();
                if ratio.takes(trace) { Self::Told(trace, None) } else { Self::Untold }
            }
        }
    }
}

fn fresh_trace() -> TraceId {
    loop {
        let bytes = random();
        // Zero is not a number of a trace.
        if bytes != [0; 16] {
            return TraceId(bytes);
        }
    }
}

/// A number for a span.
pub(crate) fn fresh_span() -> SpanId {
    loop {
        let bytes = random();
        if bytes != [0; 8] {
            return SpanId(bytes);
        }
    }
}

/// The kernel's generator does not fail once the machine has booted.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}
