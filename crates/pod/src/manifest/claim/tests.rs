use super::super::parse_files;

fn text(spec: &str) -> String {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i}]}}";
    format!(
        "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: data}}, spec: {spec}}}\n---\n{pod}\n"
    )
}

#[test]
fn a_claim_is_read_beside_pods_and_alone() {
    let spec =
        "{accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, storageClassName: fast}";
    let read = parse_files(&[("", text(spec).as_bytes())]).unwrap();
    assert_eq!((read.claims[0].namespace.as_str(), read.claims[0].name.as_str()), ("default", "data"));
    let alone = text(spec);
    let alone = alone.split("---").next().unwrap();
    let read = parse_files(&[("", alone.as_bytes())]).unwrap();
    assert_eq!((read.claims.len(), read.pods.len()), (1, 0));
    let twice = format!("{alone}---\n{alone}");
    assert!(parse_files(&[("", twice.as_bytes())]).unwrap_err().to_string().contains("duplicate"));
}

#[test]
fn what_the_api_server_refuses_of_claims_is_refused_in_its_words() {
    for (spec, said) in [
        (
            "{resources: {requests: {storage: 1Gi}}}",
            "spec.accessModes: Required value: at least 1 access mode is required",
        ),
        (
            "{accessModes: [Some], resources: {requests: {storage: 1Gi}}}",
            "spec.accessModes: Unsupported value: \"Some\": supported values: \"ReadOnlyMany\"",
        ),
        (
            "{accessModes: [ReadWriteOncePod, ReadWriteOnce], resources: {requests: {storage: 1Gi}}}",
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod",
        ),
        ("{accessModes: [ReadWriteOnce]}", "spec.resources[storage]: Required value"),
        (
            "{accessModes: [ReadWriteOnce], resources: {requests: {storage: 0}}}",
            "spec.resources[storage]: Invalid value: must be greater than zero",
        ),
        (
            "{accessModes: [ReadWriteOnce], resources: {requests: {storage: lots}}}",
            "spec.resources.requests.storage",
        ),
        (
            "{accessModes: [ReadWriteOnce], resources: {requests: {storage: 1}}, volumeMode: Block}",
            "spec.volumeMode is not supported yet",
        ),
        (
            "{accessModes: [ReadWriteOnce], resources: {requests: {storage: 1}}, volumeName: v}",
            "spec.volumeName is not supported yet",
        ),
    ] {
        let told = parse_files(&[("", text(spec).as_bytes())]).expect_err(spec).to_string();
        assert!(told.contains(said), "{spec}: {told}");
    }
}
