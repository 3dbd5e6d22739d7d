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
fn what_the_engine_tells_is_counted() {
    let metrics = Metrics::default();
    metrics.events.pulled(None, Duration::from_millis(700));
    metrics.events.pulled(Some(berth_types::Kind::NotFound), Duration::from_secs(9));
    metrics.events.pulled(Some(berth_types::Kind::NotFound), Duration::from_secs(9));
    metrics.events.lost_shim();
    metrics.events.ended(berth_engine::model::ExitReason::OomKilled);
    let mut text = Text::default();
    metrics.events.write(&mut text, 77);
    let text = text.into_string();
    for line in [
        "berth_image_pulls_total{result=\"ok\"} 1",
        "berth_image_pulls_total{result=\"not_found\"} 2",
        "berth_image_pull_duration_seconds_bucket{le=\"0.5\"} 0",
        "berth_image_pull_duration_seconds_bucket{le=\"1\"} 1",
        "berth_image_pull_duration_seconds_bucket{le=\"+Inf\"} 1",
        "berth_image_pull_duration_seconds_sum 0.7",
        "berth_image_pull_duration_seconds_count 1",
        "berth_image_pull_bytes_total 77",
        "berth_shims_lost_total 1",
        "berth_container_exits_total{reason=\"OOMKilled\"} 1",
    ] {
        assert!(text.lines().any(|had| had == line), "{line} is not in {text}");
    }
}

#[test]
fn labels_are_escaped() {
    let mut text = Text::default();
    text.value("x", &[("a", "q\"b\\n\nü"), ("b", "")], 1);
    assert_eq!(text.into_string(), "x{a=\"q\\\"b\\\\n\\nü\",b=\"\"} 1\n");
}
