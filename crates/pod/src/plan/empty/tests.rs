use crate::plan::tests::{place, pod, refused};
use crate::plan::{Node, Place, VolumeKind, plan};

fn kind(empty: &str, rest: &str) -> VolumeKind {
    let spec = format!("{{volumes: [{{name: e, emptyDir: {empty}}}], containers: [{rest}]}}");
    let node = Node { memory: 1 << 30, ..Node::default() };
    plan(&pod(&spec), &Place { node, ..place() }).unwrap_or_else(|e| panic!("{spec}: {e}")).volumes[0]
        .kind
        .clone()
}

#[test]
fn a_volume_in_memory_has_the_least_of_the_limits() {
    let free = "{name: c, image: 'a.io/x:1'}";
    let bound = "{name: d, image: 'a.io/x:1', resources: {limits: {memory: 64Mi}}}";
    let (both, twice) =
        (format!("{free}, {bound}"), format!("{bound}, {}", bound.replace("name: d", "name: e")));
    for (empty, containers, bytes) in [
        ("{medium: Memory}", free, 1 << 30),
        ("{medium: Memory}", bound, 64 << 20),
        ("{medium: Memory}", &*both, 1 << 30),
        ("{medium: Memory}", &*twice, 128 << 20),
        ("{medium: Memory, sizeLimit: 1Mi}", bound, 1 << 20),
        ("{medium: Memory, sizeLimit: 100Mi}", bound, 64 << 20),
        ("{medium: Memory, sizeLimit: 0}", bound, 64 << 20),
        ("{medium: Memory, sizeLimit: 1}", free, 4096),
    ] {
        assert_eq!(kind(empty, containers), VolumeKind::Memory(bytes), "{empty} {containers}");
    }
    assert_eq!(kind("{medium: '', sizeLimit: 0}", free), VolumeKind::Empty);
}

#[test]
fn what_cannot_be_kept_to_is_refused_with_its_reason() {
    for (empty, said) in [
        ("{sizeLimit: 1Gi}", "emptyDir.sizeLimit: Forbidden: nothing would keep a volume on disk to it"),
        ("{medium: HugePages}", "emptyDir.medium is not supported yet"),
        ("{medium: HugePages-2Mi}", "emptyDir.medium is not supported yet"),
        ("{medium: Disk}", "emptyDir.medium: Unsupported value: \"Disk\""),
    ] {
        let spec = format!(
            "{{volumes: [{{name: e, emptyDir: {empty}}}], containers: [{{name: c, image: 'a.io/x:1'}}]}}"
        );
        assert!(refused(&spec).contains(&format!("spec.volumes[0].{said}")), "{}", refused(&spec));
    }
}
