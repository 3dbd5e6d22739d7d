//! Stand-ins for the images that the CRI's conformance suite (cri-tools 1.37) pulls.
//!
//! They are made only from Debian packages: busybox-static, nginx-light, catatonit,
//! coreutils. Each is served under its upstream path without the host, so one mirror rule serves
//! registry.k8s.io, gcr.io, k8s.gcr.io, docker.io and public.ecr.aws.

use std::path::Path;

use bytes::Bytes;
use serde_json::json;

use super::{Blob, Built, Compression, Format, Image, Index, Layer, architecture, debian};
use crate::{Registry, Result};

/// The upstream hosts that the suite names and a mirror rule must redirect.
pub const HOSTS: [&str; 5] = ["registry.k8s.io", "k8s.gcr.io", "gcr.io", "docker.io", "public.ecr.aws"];

/// An image for tests of containers: a shell and every applet of busybox.
pub const BUSYBOX: &str = "registry.k8s.io/e2e-test-images/busybox:1.29-2";

/// The image that the suite names by digest: the conformance run must know what it is here.
pub const BY_DIGEST: &str = "k8s-staging-cri-tools/test-image-digest";

/// Publishes every image that the suite needs; the digest of [`BY_DIGEST`] is returned.
pub fn publish(registry: &Registry) -> Result<berth_types::Digest> {
    let layers = Layers::make()?;
    publish_shells(registry, &layers);
    publish_servers(registry, &layers);
    publish_pauses(registry, &layers);
    publish_users(registry, &layers);
    publish_tags(registry, &layers)
}

/// Publishes only the busybox images, which takes less time.
pub fn publish_busybox(registry: &Registry) -> Result<()> {
    let base = base_layer()?.build(Compression::Gzip)?;
    publish_busybox_of(registry, &base);
    Ok(())
}

struct Layers {
    base: Blob,
    nginx: Blob,
    hostnet: Blob,
    httpd: Blob,
    nonewprivs: Blob,
    pause: Blob,
    group: Blob,
}

impl Layers {
    fn make() -> Result<Self> {
        let gzip = |layer: Layer| layer.build(Compression::Gzip);
        Ok(Self {
            base: gzip(base_layer()?)?,
            nginx: gzip(nginx_layer()?)?,
            hostnet: gzip(hostnet_layer())?,
            httpd: gzip(httpd_layer())?,
            nonewprivs: gzip(nonewprivs_layer()?)?,
            pause: gzip(pause_layer()?)?,
            group: gzip(group_layer())?,
        })
    }
}

fn shell(format: Format, layers: &[&Blob]) -> Image {
    layers.iter().fold(Image::new(format), |image, layer| image.layer(layer)).cmd(&["sh"])
}

/// This machine's platform behind a foreign one, as multi-platform images have it.
fn behind_foreign(image: &Image) -> Built {
    let foreign = image.clone().architecture("s390x").build();
    Index::new(Format::Oci).image(&foreign).image(&image.build()).build()
}

fn publish_busybox_of(registry: &Registry, base: &Blob) {
    let index = behind_foreign(&shell(Format::Oci, &[base]));
    registry.push("e2e-test-images/busybox", "1.29-2", &index);
    registry.push("library/busybox", "latest", &index);
    let plain = shell(Format::Oci, &[base]).build();
    for tag in ["1.35.0-glibc", "1-uclibc", "1", "1-glibc", "1-musl"] {
        registry.push("docker/library/busybox", tag, &plain);
    }
}

fn publish_shells(registry: &Registry, layers: &Layers) {
    publish_busybox_of(registry, &layers.base);
    let nnp = Image::new(Format::Docker).layer(&layers.base).layer(&layers.nonewprivs).entrypoint(&["/nnp"]);
    registry.push("e2e-test-images/nonewprivs", "1.3", &nnp.build());
}

fn publish_servers(registry: &Registry, layers: &Layers) {
    let web = |format, layers: &[&Blob]| {
        shell(format, layers)
            .cmd(&["nginx", "-g", "daemon off;"])
            .set("ExposedPorts", json!({ "80/tcp": {} }))
            .set("StopSignal", "SIGQUIT")
    };
    let nginx = web(Format::Docker, &[&layers.base, &layers.nginx]).build();
    registry.push("e2e-test-images/nginx", "1.14-2", &nginx);
    registry.push("library/nginx", "latest", &nginx);
    let hostnet = web(Format::Oci, &[&layers.base, &layers.nginx, &layers.hostnet]).build();
    registry.push(&format!("k8s-staging-cri-tools/hostnet-nginx-{}", architecture()), "latest", &hostnet);
    let httpd = shell(Format::Docker, &[&layers.base, &layers.httpd]).cmd(&["httpd-foreground"]).build();
    registry.push("e2e-test-images/httpd", "2.4.39-4", &httpd);
}

/// One image id for each version, told apart by a label.
fn publish_pauses(registry: &Registry, layers: &Layers) {
    for version in ["3.6", "3.8", "3.9", "3.10", "3.10.1", "3.10.2"] {
        let image = Image::new(Format::Docker)
            .layer(&layers.pause)
            .entrypoint(&["/pause", "-P"])
            .user("65535:65535")
            .set("Labels", json!({ "version": version }));
        registry.push("pause", version, &image.build());
    }
}

fn publish_users(registry: &Registry, layers: &Layers) {
    let users = [
        ("uid", "1002"),
        ("username", "www-data"),
        ("uid-group", "1003:1004"),
        ("username-group", "www-data:1004"),
    ];
    for (name, user) in users {
        let image = shell(Format::Docker, &[&layers.base]).user(user).build();
        registry.push(&format!("k8s-staging-cri-tools/test-image-user-{name}"), "latest", &image);
    }
    let group = shell(Format::Docker, &[&layers.base, &layers.group]).user("1000").build();
    registry.push("k8s-staging-cri-tools/test-image-predefined-group", "latest", &group);
}

/// Images told apart by one empty file, and images with several tags.
fn publish_tags(registry: &Registry, layers: &Layers) -> Result<berth_types::Digest> {
    let marked = |name: &str| -> Result<Built> {
        let mark = Layer::new().file(name, 0o644, "").build(Compression::Gzip)?;
        Ok(shell(Format::Docker, &[&layers.base, &mark]).build())
    };
    for name in ["test-image-1", "test-image-2", "test-image-3", "test-image-latest"] {
        registry.push(&format!("k8s-staging-cri-tools/{name}"), "latest", &marked(name)?);
    }
    let same = marked("same-image")?;
    for tag in ["1", "2", "3"] {
        registry.push("k8s-staging-cri-tools/test-image-tags", tag, &same);
    }
    for tag in ["test", "all"] {
        registry.push("k8s-staging-cri-tools/test-image-tag", tag, &marked(tag)?);
    }
    let by_digest = marked("test-image-digest")?;
    registry.push(BY_DIGEST, "latest", &by_digest);
    Ok(by_digest.digest)
}

/// busybox with every applet as a hard link in /bin, and accounts as the usual images have them.
pub fn base_layer() -> Result<Layer> {
    let busybox = debian::file(&["/usr/bin/busybox", "/bin/busybox"], "busybox-static")?;
    let mut layer = Layer::new()
        .dirs(["bin", "dev", "etc", "home", "mnt", "proc", "run", "sys", "usr", "usr/bin", "usr/sbin"])
        .dirs(["var", "var/log", "var/spool", "var/spool/mail"])
        .dir("root", 0o700)
        .dir("tmp", 0o1777)
        .symlink("var/run", "/run")
        .copy("bin/busybox", 0o755, &busybox);
    for applet in debian::applets(&busybox)? {
        if !["sh", "ash", "pgrep", "ipcs"].contains(&applet.as_str()) {
            layer = layer.hardlink(format!("bin/{applet}"), "bin/busybox");
        }
    }
    Ok(layer
        .file("bin/sh", 0o755, shell_without_ls(&busybox)?)
        .hardlink("bin/ash", "bin/sh")
        .file("bin/pgrep", 0o755, include_str!("standin/pgrep.sh"))
        .file("bin/ipcs", 0o755, include_str!("standin/ipcs.sh"))
        .file("etc/passwd", 0o644, include_str!("standin/passwd"))
        .file("etc/group", 0o644, include_str!("standin/group"))
        .file("etc/shadow", 0o640, "root::10933:0:99999:7:::\nnobody:*:10933:0:99999:7:::\n")
        .file("etc/hostname", 0o644, "localhost\n"))
}

/// busybox for /bin/sh, whose own `ls` has another name.
///
/// The shell of Debian's static busybox prefers its own applets to programs. The suite masks
/// /bin/ls and expects the shell's message that it cannot be executed, so the shell must not know
/// an `ls` of its own. The other name keeps the table of applets in its order.
fn shell_without_ls(busybox: &Path) -> Result<Vec<u8>> {
    let mut program =
        std::fs::read(busybox).map_err(crate::Error::io(format!("read {}", busybox.display())))?;
    let names = b"\0ls\0ls";
    let places: Vec<_> =
        program.windows(names.len()).enumerate().filter(|(_, w)| w == names).map(|(at, _)| at).collect();
    match places[..] {
        [at] => program[at + 2] = b'r',
        _ => return Err(crate::Error::Other(format!("{}: no table of applets found", busybox.display()))),
    }
    Ok(program)
}

/// nginx with its libraries, in the foreground, logging to stdout and stderr.
pub fn nginx_layer() -> Result<Layer> {
    let nginx = debian::file(&["/usr/sbin/nginx"], "nginx-light")?;
    let types = debian::file(&["/etc/nginx/mime.types"], "nginx-common")?;
    let page = "<!DOCTYPE html><html><head><title>Welcome to nginx!</title></head>\
                <body><h1>Welcome to nginx!</h1></body></html>\n";
    let layer = Layer::new()
        .dirs(["etc", "etc/nginx", "etc/nginx/conf.d", "usr", "usr/share", "usr/share/nginx"])
        .dirs(["usr/share/nginx/html", "usr/lib", "usr/lib/nginx", "usr/lib/nginx/modules"])
        .dirs(["var", "var/lib", "var/lib/nginx", "var/log", "var/log/nginx"])
        .file("usr/share/nginx/html/index.html", 0o644, page)
        .file("etc/nginx/nginx.conf", 0o644, include_str!("standin/nginx.conf"))
        .file("etc/nginx/conf.d/default.conf", 0o644, listen_on(80))
        .copy("etc/nginx/mime.types", 0o644, types);
    debian::with_libraries(layer, "usr/sbin/nginx", 0o755, &nginx)
}

/// The suite looks for this port when a pod uses the host's network.
fn hostnet_layer() -> Layer {
    Layer::new().file("etc/nginx/conf.d/default.conf", 0o644, listen_on(12003))
}

fn listen_on(port: u16) -> Bytes {
    format!("server {{ listen {port}; root /usr/share/nginx/html; }}\n").into()
}

/// busybox's httpd under the name that the log test looks for.
fn httpd_layer() -> Layer {
    let script = "#!/bin/sh\necho \"AH00094: Command line: httpd -D FOREGROUND\"\n\
                  exec httpd -f -vv -p 80 -h /www\n";
    Layer::new()
        .dirs(["usr", "usr/local", "usr/local/bin", "www"])
        .file("www/index.html", 0o644, "<html><body><h1>It works!</h1></body></html>\n")
        .file("usr/local/bin/httpd-foreground", 0o755, script)
}

/// A set-uid `id` behind a line of shell.
fn nonewprivs_layer() -> Result<Layer> {
    let script = "#!/bin/sh\necho \"Effective uid: $(/nnp-id -u)\"\n";
    let layer = debian::with_libraries(Layer::new(), "nnp-id", 0o4755, Path::new("/usr/bin/id"))?;
    Ok(layer.file("nnp", 0o755, script))
}

/// catatonit: static, waits, and reaps.
fn pause_layer() -> Result<Layer> {
    let catatonit = debian::file(&["/usr/bin/catatonit", "/usr/libexec/podman/catatonit"], "catatonit")?;
    Ok(Layer::new().copy("pause", 0o755, catatonit))
}

/// A user with a group that only the image defines.
fn group_layer() -> Layer {
    let users =
        format!("{}default-user:x:1000:1000::/home/default-user:/bin/sh\n", include_str!("standin/passwd"));
    let groups = format!(
        "{}default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n",
        include_str!("standin/group")
    );
    Layer::new().dirs(["etc", "home", "home/default-user"]).file("etc/passwd", 0o644, users).file(
        "etc/group",
        0o644,
        groups,
    )
}
