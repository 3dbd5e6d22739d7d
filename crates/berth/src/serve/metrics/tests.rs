use super::*;

#[test]
fn calls_of_the_cri_alone_have_a_method() {
    assert_eq!(method("/runtime.v1.RuntimeService/RunPodSandbox"), Some("RunPodSandbox"));
    assert_eq!(method("/runtime.v1.ImageService/PullImage"), Some("PullImage"));
    assert_eq!(method("/berth.v1.Berth/Info"), None);
    assert_eq!(method("/runtime.v1.Other/x"), None);
}

#[test]
fn codes_have_grpcs_names() {
    assert_eq!((code(None), code(Some("5")), code(Some("16"))), ("OK", "NOT_FOUND", "UNAUTHENTICATED"));
    assert_eq!((code(Some("17")), code(Some("x"))), ("UNKNOWN", "UNKNOWN"));
}

#[test]
fn times_are_counted_in_every_bucket_that_they_fit() {
    let metrics = Metrics::default();
    metrics.answered("Version", "OK", Duration::from_millis(30));
    metrics.answered("Version", "OK", Duration::from_secs(600));
    metrics.answered("Version", "NOT_FOUND", Duration::ZERO);
    let mut text = Text::default();
    metrics.write_calls(&mut text);
    let text = text.into_string();
    for line in [
        "berth_cri_calls_total{method=\"Version\",code=\"OK\"} 2",
        "berth_cri_calls_total{method=\"Version\",code=\"NOT_FOUND\"} 1",
        "berth_cri_call_duration_seconds_bucket{method=\"Version\",le=\"0.025\"} 1",
        "berth_cri_call_duration_seconds_bucket{method=\"Version\",le=\"0.05\"} 2",
        "berth_cri_call_duration_seconds_bucket{method=\"Version\",le=\"120\"} 2",
        "berth_cri_call_duration_seconds_bucket{method=\"Version\",le=\"+Inf\"} 3",
        "berth_cri_call_duration_seconds_sum{method=\"Version\"} 600.03",
        "berth_cri_call_duration_seconds_count{method=\"Version\"} 3",
        "berth_cri_calls_pending 0",
    ] {
        assert!(text.lines().any(|had| had == line), "{line} is not in {text}");
    }
}

#[test]
fn the_number_of_lines_is_bounded() {
    let metrics = Metrics::default();
    for number in 0..2 * MOST {
        metrics.answered(&format!("M{number}"), "OK", Duration::ZERO);
    }
    assert_eq!(metrics.calls.lock().unwrap().by_code.len(), MOST);
    assert_eq!(metrics.calls.lock().unwrap().times.len(), MOST);
}

#[test]
fn labels_are_escaped() {
    let mut text = Text::default();
    text.value("x", &[("a", "q\"b\\n\nü"), ("b", "")], 1);
    assert_eq!(text.into_string(), "x{a=\"q\\\"b\\\\n\\nü\",b=\"\"} 1\n");
}
