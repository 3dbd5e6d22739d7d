//! Images that the corpus names beside busybox.

use std::path::Path;

use berth_testkit::image::{Blob, Compression, Format, Image, Layer, debian, standin};
use serde_json::json;

use crate::home::registry;

/// `corpus/user` runs as 1000:3000, `corpus/volume` has a volume with a file, `corpus/entry` has an entrypoint with arguments,
/// `corpus/nginx` serves what probes ask, and `corpus/glibc` has `getent`.
pub fn publish() {
    let base = standin::base_layer().unwrap().build(Compression::Gzip).unwrap();
    let shell = || Image::new(Format::Oci).layer(&base);
    let push = |name: &str, image: Image| registry().push(name, "1", &image.build());
    push("corpus/user", shell().user("1000:3000").cmd(&["id"]));
    let data = Layer::new()
        .dirs(["data"])
        .file("data/file", 0o644, "of the image\n")
        .build(Compression::Gzip)
        .unwrap();
    let volume = shell().layer(&data).cmd(&["sh"]).set("Volumes", json!({ "/data": {} }));
    push("corpus/volume", volume);
    push("corpus/nginx", shell().layer(&nginx()).cmd(&["nginx", "-g", "daemon off;"]));
    let names = Layer::new().dirs(["etc"]).file("etc/nsswitch.conf", 0o644, "hosts: files dns\n");
    let getent = Path::new("/usr/bin/getent");
    let names = debian::with_libraries(names, "usr/bin/getent", 0o755, getent).unwrap();
    push("corpus/glibc", shell().layer(&names.build(Compression::Gzip).unwrap()).cmd(&["sh"]));
    push("corpus/entry", shell().entrypoint(&["echo", "entry"]).cmd(&["cmd"]));
}

/// nginx with a page over TLS at 8443, and at 5000 the answer of gRPC's health service that all is well.
fn nginx() -> Blob {
    let certificate = rcgen::generate_simple_self_signed(vec!["nobody.example".to_owned()]).unwrap();
    let servers = "
        server { listen 8443 ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem; root /usr/share/nginx/html; }
        server {
            listen 5000 http2; root /usr/share/nginx/grpc; default_type application/grpc;
            add_trailer grpc-status 0;
            error_page 405 =200 $uri;
        }
    ";
    // One message, not compressed, of two bytes: status SERVING.
    let serving: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
    standin::nginx_layer()
        .unwrap()
        .dirs(["usr/share/nginx/grpc", "usr/share/nginx/grpc/grpc.health.v1.Health"])
        .file("usr/share/nginx/grpc/grpc.health.v1.Health/Check", 0o644, serving)
        .file("etc/nginx/conf.d/corpus.conf", 0o644, servers)
        .file("etc/nginx/cert.pem", 0o644, certificate.cert.pem())
        .file("etc/nginx/key.pem", 0o600, certificate.signing_key.serialize_pem())
        .build(Compression::Gzip)
        .unwrap()
}
