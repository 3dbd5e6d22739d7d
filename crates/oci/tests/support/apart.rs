//! A mount and a network namespace in which other engines have directories of the test's own in the place of the machine's.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The namespace, until it is dropped and the last process in it has ended.
pub struct Apart {
    holder: Child,
}

impl Apart {
    /// With a directory of `dir` in the place of each of `places`.
    pub fn new(dir: &Path, places: &[&str]) -> Self {
        let mut mounts = String::new();
        for (number, place) in places.iter().enumerate() {
            let own = dir.join(number.to_string());
            std::fs::create_dir(&own).expect("mkdir");
            mounts.push_str(&format!("mkdir -p {place}; mount --bind {} {place}; ", own.display()));
        }
        let mut holder = Command::new("unshare")
            .args([
                "--mount",
                "--net",
                "--propagation",
                "private",
                "sh",
                "-ec",
                &format!("{mounts} echo ready; cat"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("piped")).read_line(&mut line).expect("read");
        assert_eq!(line, "ready\n");
        Self { holder }
    }

    /// A program in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--mount", "--net", program]);
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        drop(self.holder.wait());
    }
}

/// A cgroup that an engine makes above those of its containers, in every hierarchy, in those too that Berth does not use; removed
/// when this is dropped.
pub struct Parent(pub String);

impl Parent {
    /// The cgroups below it, in whatever hierarchy.
    pub fn below(&self) -> Vec<PathBuf> {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let entries =
            hierarchies.flat_map(|dir| std::fs::read_dir(dir.path().join(&self.0)).into_iter().flatten());
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let dirs: Vec<PathBuf> =
            hierarchies.map(|dir| dir.path().join(&self.0)).filter(|dir| dir.exists()).collect();
        drop(berth_sys::cgroup::Cgroup::from_dirs(dirs).remove());
    }
}

/// Whether all these programs are there; prints a line for the first that is not.
pub fn has(test: &str, programs: &[&str], package: &str) -> bool {
    let missing = programs.iter().find(|path| !Path::new(path).exists());
    if let Some(path) = missing {
        eprintln!("skipped: {test}: needs {path} (package {package})");
    }
    missing.is_none()
}
