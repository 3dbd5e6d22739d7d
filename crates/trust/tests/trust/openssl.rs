//! Keys, certificates and signatures by openssl.

use std::path::PathBuf;
use std::process::Command;

use super::run;

/// A directory of what was made.
pub(crate) struct Openssl {
    dir: tempfile::TempDir,
}

impl Openssl {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    fn openssl(&self, arguments: &str) -> Vec<u8> {
        run(Command::new("openssl").args(arguments.split(' ')).current_dir(self.dir.path()))
    }

    /// A key, `NAME.key` and `NAME.pub`.
    pub(crate) fn key(&self, name: &str, kind: &str) {
        let made = match kind.strip_prefix("ec:") {
            Some(curve) => format!("-algorithm EC -pkeyopt ec_paramgen_curve:{curve}"),
            None => kind
                .replace("rsa", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048")
                .replace("ed25519", "-algorithm ED25519"),
        };
        self.openssl(&format!("genpkey {made} -out {name}.key"));
        self.openssl(&format!("pkey -in {name}.key -pubout -out {name}.pub"));
    }

    pub(crate) fn sign(&self, name: &str, bytes: &[u8]) -> Vec<u8> {
        self.write("message", bytes);
        match self.text(&format!("{name}.pub")).len() < 150 {
            true => self.openssl(&format!("pkeyutl -sign -rawin -in message -inkey {name}.key")),
            false => self.openssl(&format!("dgst -sha256 -sign {name}.key message")),
        }
    }

    /// A root, `NAME.crt`, valid from now for these days.
    pub(crate) fn root(&self, name: &str, days: u32) {
        self.key(name, "ec:P-384");
        self.write("root.cnf", "[req]\ndistinguished_name=dn\nx509_extensions=v3\n[dn]\n[v3]\nbasicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n");
        self.openssl(&format!(
            "req -x509 -config root.cnf -new -key {name}.key -subj /CN={name} -days {days} -out {name}.crt"
        ));
    }

    /// A certificate of `NAME.key` by an issuer, with these extensions.
    pub(crate) fn certificate(&self, name: &str, issuer: &str, extensions: &str, days: i32) {
        self.write("leaf.cnf", extensions);
        self.openssl(&format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {issuer}.crt -CAkey {issuer}.key -CAcreateserial -extfile leaf.cnf -days {days} -out {name}.crt"
        ));
    }
}
