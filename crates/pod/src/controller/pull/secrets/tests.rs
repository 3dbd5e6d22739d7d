use super::*;
use crate::manifest::parse;

fn found(servers: &str, image: &str) -> Option<String> {
    let text = format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: s}}, type: kubernetes.io/dockerconfigjson, stringData: {{.dockerconfigjson: '{{\"auths\": {{{servers}}}}}'}}}}\n---\n\
         {{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{imagePullSecrets: [{{name: s}}], containers: [{{name: c, image: x}}]}}}}"
    );
    let pod = parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}")).remove(0);
    auth(&pod, image).map(|auth| auth.username)
}

#[test]
fn the_longest_path_above_an_image_has_its_credentials() {
    let of = |server: &str| format!("\"{server}\": {{\"username\": \"{server}\"}}");
    let all = [
        of("https://index.docker.io/v1/"),
        of("registry.example:5000"),
        of("registry.example:5000/team"),
        of("https://other.example/v2/"),
    ]
    .join(", ");
    for (image, server) in [
        ("busybox", Some("https://index.docker.io/v1/")),
        ("user/thing:1", Some("https://index.docker.io/v1/")),
        ("registry.example:5000/a", Some("registry.example:5000")),
        ("registry.example:5000/team/a@sha256:0", Some("registry.example:5000/team")),
        ("registry.example:5000/teams/a", Some("registry.example:5000")),
        ("other.example/a", Some("https://other.example/v2/")),
        ("registry.example/a", None),
    ] {
        assert_eq!(found(&all, image).as_deref(), server, "{image}");
    }
}
