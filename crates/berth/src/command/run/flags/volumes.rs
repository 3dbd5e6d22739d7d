//! `-v`, `--mount`, `--tmpfs` and `--shm-size`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use berth_pod::plan::NamedVolume;
use berth_pod::volumes::is_name;
use serde_json::{Value, json};

use super::Run;
use super::limits::{quantity, size};

/// The volumes of the pod and their mounts in the container.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    pub(super) volumes: Vec<Value>,
    pub(super) mounts: Vec<Value>,
    /// Those of the volumes that outlive the pod.
    pub(super) named: BTreeMap<String, NamedVolume>,
}

/// How a volume is mounted.
#[derive(Debug, Default)]
struct How {
    read_only: bool,
    propagation: Option<&'static str>,
    /// A named volume is not filled from the image.
    no_copy: bool,
}

impl Volumes {
    fn add(&mut self, mut source: Value, inside: &str, how: &How) {
        let name = format!("v{}", self.volumes.len());
        source["name"] = json!(name);
        self.volumes.push(source);
        let mut mount = json!({ "name": name, "mountPath": inside, "readOnly": how.read_only });
        if let Some(propagation) = how.propagation {
            mount["mountPropagation"] = json!(propagation);
        }
        self.mounts.push(mount);
    }

    /// A volume that outlives the pod.
    fn named(&mut self, name: &str, inside: &str, how: &How) -> anyhow::Result<()> {
        if !is_name(name) {
            bail!(
                "{name:?} is neither a path nor a volume's name (hint: a name has letters, digits, '_', '.' and '-', two at least; a path begins with / or .)"
            );
        }
        if how.propagation.is_some() {
            bail!("nothing is mounted in a named volume, so it has no propagation");
        }
        let named = NamedVolume { name: name.to_owned(), anonymous: false, no_copy: how.no_copy };
        self.stored(named, inside, how);
        Ok(())
    }

    /// One that nobody gave a name.
    fn anonymous(&mut self, inside: &str, how: &How) {
        let name = berth_engine::random_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        self.stored(NamedVolume { name, anonymous: true, no_copy: how.no_copy }, inside, how);
    }

    fn stored(&mut self, named: NamedVolume, inside: &str, how: &How) {
        self.named.insert(format!("v{}", self.volumes.len()), named);
        // The annotation of the pod says what it is.
        self.add(json!({ "emptyDir": {} }), inside, how);
    }

    /// A directory in memory.
    fn memory(&mut self, inside: &str, size: Option<String>, how: &How) {
        let mut dir = json!({ "medium": "Memory" });
        if let Some(size) = size {
            dir["sizeLimit"] = json!(size);
        }
        self.add(json!({ "emptyDir": dir }), inside, how);
    }

    /// A path of this machine, which must exist: a directory made of a mistyped path would be found empty.
    fn host(&mut self, host: &str, inside: &str, how: &How) -> anyhow::Result<()> {
        let host = std::path::absolute(host)?;
        if !host.exists() {
            bail!(
                "{path} does not exist (hint: make it first, as by mkdir -p {path})",
                path = host.display()
            );
        }
        self.add(json!({ "hostPath": { "path": host, "type": "" } }), inside, how);
        Ok(())
    }
}

impl Run {
    pub(super) fn volumes(&self) -> anyhow::Result<Volumes> {
        let mut all = Volumes::default();
        for text in &self.volume {
            volume(&mut all, text).with_context(|| format!("--volume {text:?}"))?;
        }
        for text in &self.mount {
            mount(&mut all, text).with_context(|| format!("--mount {text:?}"))?;
        }
        for text in &self.tmpfs {
            tmpfs(&mut all, text).with_context(|| format!("--tmpfs {text:?}"))?;
        }
        if let Some(text) = &self.shm_size {
            size(text, "--shm-size")?;
            all.memory("/dev/shm", Some(quantity(text)), &How::default());
        }
        Ok(all)
    }
}

/// `[PATH:]PATH[:OPTIONS]`
fn volume(all: &mut Volumes, text: &str) -> anyhow::Result<()> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, inside, options) = match parts.as_slice() {
        [inside] if inside.starts_with('/') => {
            all.anonymous(inside, &How::default());
            return Ok(());
        }
        [host, inside] => (*host, *inside, ""),
        [host, inside, options] => (*host, *inside, *options),
        _ => bail!("expected PATH:PATH, PATH:PATH:ro, or one path"),
    };
    if host.starts_with('~') {
        bail!(
            "the shell did not replace ~ (hint: give the path in full, such as $HOME{})",
            host.trim_start_matches('~')
        );
    }
    let mut how = How::default();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            // Of docker's on a Mac, and without a meaning elsewhere.
            "rw" | "cached" | "delegated" | "consistent" => {}
            "nocopy" => how.no_copy = true,
            "ro" => how.read_only = true,
            "z" | "Z" => no_selinux(Path::new("/sys/fs/selinux/enforce"))?,
            other => {
                how.propagation = propagation(other)
                    .with_context(|| format!("{other:?} is not ro, rw, z, Z, rslave, rshared or rprivate"))?
            }
        }
    }
    if !host.starts_with(['/', '.']) {
        return all.named(host, inside, &how);
    }
    all.host(host, inside, &how)
}

/// Without SELinux there is nothing to label.
fn no_selinux(enforce: &Path) -> anyhow::Result<()> {
    if enforce.exists() {
        bail!(
            "labels of SELinux are not set yet (hint: label it by chcon -Rt container_file_t, and leave z out)"
        );
    }
    Ok(())
}

/// What a manifest calls it; nothing for what is so in any case.
fn propagation(word: &str) -> Option<Option<&'static str>> {
    match word {
        "private" | "rprivate" => Some(None),
        "slave" | "rslave" => Some(Some("HostToContainer")),
        "shared" | "rshared" => Some(Some("Bidirectional")),
        _ => None,
    }
}

/// What a word without a value, or with one that means yes or no, says; as docker takes it.
fn truth(key: &str, value: Option<&str>) -> anyhow::Result<bool> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("true" | "t" | "1") => Ok(true),
        Some("false" | "f" | "0") => Ok(false),
        Some(other) => bail!("{key}={other}: expected true or false"),
    }
}

/// `type=bind,src=PATH,dst=PATH`
fn mount(all: &mut Volumes, text: &str) -> anyhow::Result<()> {
    let (mut kind, mut source, mut inside, mut limit) = ("volume", None, None, None);
    let mut how = How::default();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').map_or((part, None), |(key, value)| (key, Some(value)));
        let needed = || value.with_context(|| format!("{key} needs a value"));
        match key {
            "type" => kind = needed()?,
            "source" | "src" => source = Some(needed()?),
            "target" | "dst" | "destination" => inside = Some(needed()?),
            "readonly" | "ro" => how.read_only = truth(key, value)?,
            "rw" => how.read_only = !truth(key, value)?,
            "bind-propagation" => {
                how.propagation = propagation(needed()?)
                    .context("bind-propagation: expected rprivate, rslave or rshared")?;
            }
            "tmpfs-size" => {
                size(needed()?, "tmpfs-size")?;
                limit = Some(quantity(needed()?));
            }
            "volume-nocopy" => how.no_copy = truth(key, value)?,
            "consistency" => {}
            other => bail!(
                "{other:?} is not supported: only type, src, dst, ro, bind-propagation, volume-nocopy and tmpfs-size are"
            ),
        }
    }
    let inside = inside.context("it needs dst=PATH")?;
    match (kind, source) {
        ("bind", Some(source)) => all.host(source, inside, &how)?,
        ("bind", None) => bail!("type=bind needs src=PATH"),
        ("tmpfs", _) => all.memory(inside, limit, &how),
        ("volume", None) => all.anonymous(inside, &how),
        ("volume", Some(name)) => all.named(name, inside, &how)?,
        (other, _) => bail!("type={other} is not supported: only bind, volume and tmpfs are"),
    }
    Ok(())
}

/// `PATH[:OPTIONS]`
fn tmpfs(all: &mut Volumes, text: &str) -> anyhow::Result<()> {
    let (inside, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut limit, mut how) = (None, How::default());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", text)) => {
                size(text, "size")?;
                limit = Some(quantity(text));
            }
            None if option == "ro" => how.read_only = true,
            // It is so in any case.
            None if matches!(option, "rw" | "exec" | "nosuid" | "nodev") => {}
            _ => bail!("{option:?} is not supported: only size, ro and rw are, and its mode is 0777"),
        }
    }
    all.memory(inside, limit, &how);
    Ok(())
}
