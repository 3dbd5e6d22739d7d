//! When images that nobody uses go.

use std::time::Duration;

use berth_image::collect::Policy;

use super::{SettingsError, invalid};

/// The kubelet's own: it frees to this where nothing else is said.
const LOW: u8 = 80;

/// The policy; none without a high threshold.
pub(super) fn policy(
    high: Option<u8>,
    low: Option<u8>,
    age: Option<String>,
) -> Result<Option<Policy>, SettingsError> {
    let minimum_age = age.map_or(Ok(Policy::MINIMUM_AGE), |text| {
        let time = text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
        time.ok_or_else(|| invalid("image-gc-minimum-age", &text, "expected a time such as 2m or 1h"))
    })?;
    let Some(high) = high.filter(|high| *high != 0) else { return Ok(None) };
    if high > 100 {
        return Err(invalid("image-gc-high-threshold", &high.to_string(), "expected percent, 1 to 100"));
    }
    let low = low.unwrap_or_else(|| LOW.min(high.saturating_sub(5)));
    if low >= high {
        let reason = format!("expected less than --image-gc-high-threshold, which is {high}");
        return Err(invalid("image-gc-low-threshold", &low.to_string(), &reason));
    }
    Ok(Some(Policy { high, low, minimum_age }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thresholds_are_percent_the_low_below_the_high() {
        let of = |high, low, age: Option<&str>| match policy(high, low, age.map(str::to_owned)) {
            Ok(policy) => policy
                .map_or_else(|| "off".to_owned(), |p| format!("{} {} {:?}", p.high, p.low, p.minimum_age)),
            Err(error) => error.to_string(),
        };
        assert_eq!(of(None, None, None), "off");
        assert_eq!(of(Some(0), Some(10), None), "off");
        assert_eq!(of(Some(85), None, None), "85 80 120s");
        assert_eq!(of(Some(60), None, Some("0s")), "60 55 0ns");
        assert_eq!(of(Some(100), Some(99), Some("1h")), "100 99 3600s");
        for (high, low, age, name) in [
            (Some(101), None, None, "--image-gc-high-threshold"),
            (Some(85), Some(85), None, "--image-gc-low-threshold"),
            (Some(85), None, Some("soon"), "--image-gc-minimum-age"),
            (None, None, Some("-5m"), "--image-gc-minimum-age"),
        ] {
            assert!(of(high, low, age).starts_with(name), "{}", of(high, low, age));
        }
    }
}
