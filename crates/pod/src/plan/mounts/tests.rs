use std::path::Path;

use crate::plan::tests::{place, pod, refused};
use crate::plan::{Place, plan};

fn spec(mount: &str) -> String {
    format!(
        "{{volumes: [{{name: v}}, {{name: m, emptyDir: {{medium: Memory}}}}, {{name: h, hostPath: {{path: /srv}}}}],
          containers: [{{name: c, image: 'a.io/x:1', volumeMounts: [{{mountPath: /m, {mount}}}],
                         env: [{{name: NAME, value: web}}, {{name: EMPTY}},
                               {{name: IP, valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}}}]}}]}}"
    )
}

#[test]
fn a_part_of_a_volume_is_mounted() {
    for (mount, host_path, sub_path) in [
        ("name: v, subPath: a/b", "/pods/u1/volumes/v", "a/b"),
        ("name: m, subPath: a//b/", "/pods/u1/volumes/m", "a/b"),
        ("name: h, subPathExpr: $(NAME)/$$(NAME)", "/srv", "web/$(NAME)"),
        ("name: v, subPathExpr: plain", "/pods/u1/volumes/v", "plain"),
        ("name: v", "/pods/u1/volumes/v", ""),
    ] {
        let plan = plan(&pod(&spec(mount)), &place()).unwrap_or_else(|e| panic!("{mount}: {e}"));
        let got = &plan.main[0].config.mounts[0];
        assert_eq!(
            (got.host_path.as_path(), got.sub_path.as_path()),
            (Path::new(host_path), Path::new(sub_path))
        );
    }
}

#[test]
fn an_address_is_in_a_path_when_it_is_known() {
    let pod = pod(&spec("name: v, subPathExpr: $(IP)"));
    plan(&pod, &place()).unwrap();
    let later = Place { addresses: vec!["10.1.2.3".parse().unwrap()], ..place() };
    assert_eq!(plan(&pod, &later).unwrap().main[0].config.mounts[0].sub_path, Path::new("10.1.2.3"));
}

#[test]
fn paths_that_cannot_be() {
    for (mount, said) in [
        ("name: v, subPath: ../x", "subPath: Invalid value"),
        ("name: v, subPath: /x", "subPath: Invalid value"),
        ("name: v, subPathExpr: $(NAME)/../..", "subPathExpr: Invalid value"),
        (
            "name: v, subPathExpr: $(NONE)/$(OTHER)",
            "subPathExpr: Invalid value: \"$(NONE)/$(OTHER)\": missing value for NONE, OTHER",
        ),
        (
            "name: v, subPath: a, subPathExpr: b",
            "subPathExpr: Invalid value: subPathExpr and subPath are mutually exclusive",
        ),
    ] {
        let said = format!("spec.containers[0].volumeMounts[0].{said}");
        assert!(refused(&spec(mount)).contains(&said), "{}", refused(&spec(mount)));
    }
    let empty = spec("name: v, subPathExpr: $(EMPTY)").replace("status.podIP", "metadata.name");
    assert!(refused(&empty).contains("missing value for EMPTY"), "{}", refused(&empty));
}
