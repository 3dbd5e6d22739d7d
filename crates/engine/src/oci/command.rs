//! The command line, working directory and environment of a container's process.

use std::collections::BTreeMap;

use berth_image::ImageConfig;

use crate::error::EngineError;
use crate::model::{ContainerConfig, EnvVar};

/// What `PATH` is when neither image nor configuration says.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Command and arguments: the configuration's command replaces entry point and arguments of the image,
/// its arguments alone replace the image's arguments.
pub(crate) fn argv(config: &ContainerConfig, image: &ImageConfig) -> Result<Vec<String>, EngineError> {
    command_line(&config.command, &config.args, image)
}

fn command_line(
    command: &[String],
    args: &[String],
    image: &ImageConfig,
) -> Result<Vec<String>, EngineError> {
    let (entrypoint, args) = match (command.is_empty(), args.is_empty()) {
        (true, true) => (image.entrypoint.as_slice(), image.cmd.as_slice()),
        (true, false) => (image.entrypoint.as_slice(), args),
        (false, _) => (command, args),
    };
    let argv: Vec<String> = entrypoint.iter().chain(args).cloned().collect();
    if argv.is_empty() {
        let message = "neither the container nor its image specifies a command";
        return Err(EngineError::invalid("command", message));
    }
    if argv.iter().any(|arg| arg.contains('\0')) {
        return Err(EngineError::invalid("command", "an argument contains a NUL byte"));
    }
    Ok(argv)
}

/// The working directory: the configuration's, else the image's, else `/`.
pub(crate) fn cwd(config: &ContainerConfig, image: &ImageConfig) -> Result<String, EngineError> {
    let asked = config.working_dir.as_deref().filter(|dir| !dir.is_empty());
    let dir = asked.or(Some(image.working_dir.as_str()).filter(|dir| !dir.is_empty())).unwrap_or("/");
    if dir.contains('\0') {
        return Err(EngineError::invalid("working_dir", "it contains a NUL byte"));
    }
    // An image's relative directory means one below the root, as docker reads it.
    Ok(if dir.starts_with('/') { dir.to_owned() } else { format!("/{dir}") })
}

/// The environment, with names in the order of their first appearance: PATH, TERM with a terminal and
/// HOSTNAME, then the image's, then the configuration's; the last value of a name wins. HOME
/// is the user's unless one of them says otherwise.
pub(crate) fn env(config: &ContainerConfig, image: &ImageConfig, hostname: &str, home: &str) -> Vec<EnvVar> {
    let mut env = Environment::default();
    env.set("PATH", DEFAULT_PATH.as_bytes());
    if config.tty {
        env.set("TERM", b"xterm");
    }
    env.set("HOSTNAME", hostname.as_bytes());
    for line in &image.env {
        // A line without a value sets nothing, as a shell would not export it either.
        if let Some((name, value)) = line.split_once('=')
            && !name.is_empty()
        {
            env.set(name, value.as_bytes());
        }
    }
    for var in &config.envs {
        env.set(&var.name, &var.value);
    }
    if !env.places.contains_key("HOME") {
        env.set("HOME", home.as_bytes());
    }
    env.list
}

#[derive(Default)]
struct Environment {
    list: Vec<EnvVar>,
    places: BTreeMap<String, usize>,
}

impl Environment {
    fn set(&mut self, name: &str, value: &[u8]) {
        match self.places.get(name) {
            Some(place) => self.list[*place].value = value.to_vec(),
            None => {
                self.places.insert(name.to_owned(), self.list.len());
                self.list.push(EnvVar { name: name.to_owned(), value: value.to_vec() });
            }
        }
    }
}

#[cfg(test)]
mod tests;
