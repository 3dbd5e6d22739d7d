//! The commands.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use berth_container::run::Note;

use crate::OciError;
use crate::cli::{Args, Globals, Verb};
use crate::log::Log;
use crate::seal::seal_program;
use crate::store::Store;

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod pause;
mod ps;
mod run;
mod show;
mod spec;
mod start;
mod update;

/// Runs the command; its exit status.
pub(crate) fn run(args: Args, log: &Log) -> Result<i32, OciError> {
    if args.globals.version {
        print(&format!("berth-oci version {}\nspec: {}\n", env!("CARGO_PKG_VERSION"), features::SPEC_MAX))?;
        return Ok(0);
    }
    refuse(&args.globals)?;
    let store = Store::new(args.globals.root);
    let Some(verb) = args.verb else {
        return Err(OciError::invalid("the command line", "there is no command; see --help"));
    };
    if needs_root(&verb) && !rustix::process::geteuid().is_root() {
        return Err(refused("use without root's rights", "containers are made with root's rights only"));
    }
    let done = match verb {
        Verb::Create(options) => create::create_and_leave(&store, &options, log),
        Verb::Start { id } => start::start(&store, &id, None, log),
        Verb::State { id } => show::state(&store, &id),
        Verb::Kill(options) => kill::kill(&store, &options),
        Verb::Delete { id, force } => delete::delete(&store, &id, force, log),
        Verb::Exec(options) => return exec::exec(&store, &options, log),
        Verb::Run(options) => return run::run(&store, &options, log),
        Verb::Ps { format, id, options } => ps::ps(&store, &id, format, &options),
        Verb::Pause { id } => pause::pause(&store, &id),
        Verb::Resume { id } => pause::resume(&store, &id),
        Verb::Update(options) => update::update(&store, &options),
        Verb::Events { interval, stats, id } => events::events(&store, &id, &interval, stats),
        Verb::Features => features::features(),
        Verb::List { format, quiet } => show::list(&store, format, quiet, log),
        Verb::Spec { rootless: true, .. } => {
            Err(refused("--rootless", "containers are made with root's rights only"))
        }
        Verb::Spec { bundle, rootless: false } => spec::spec(bundle.as_deref()),
        Verb::Checkpoint(_) => Err(refused("checkpoint", "Berth does not drive CRIU")),
        Verb::Restore(_) => Err(refused("restore", "Berth does not drive CRIU")),
    };
    done.map(|()| 0)
}

/// Not what only tells about this program.
fn needs_root(verb: &Verb) -> bool {
    !matches!(verb, Verb::Features | Verb::Spec { .. } | Verb::Checkpoint(_) | Verb::Restore(_))
}

fn refuse(globals: &Globals) -> Result<(), OciError> {
    let is_wanted = |text: &str| !matches!(text, "" | "auto" | "false");
    if globals.systemd_cgroup {
        let why = "cgroups are made by writing to them; use the cgroupfs manager";
        return Err(refused("--systemd-cgroup", why));
    }
    if is_wanted(&globals.rootless) {
        return Err(refused("--rootless", "containers are made with root's rights only"));
    }
    if globals.criu.is_some() {
        return Err(refused("--criu", "Berth does not drive CRIU"));
    }
    Ok(())
}

pub(crate) fn refused(what: &'static str, why: &'static str) -> OciError {
    OciError::Refused { what, why }
}

/// Has this program go on from a sealed copy before it makes a process that executes something in a container.
fn seal(log: &Log) -> Result<(), OciError> {
    log.debug("going on from a sealed copy of this program");
    seal_program()
}

/// Says once what was done in another way than the specification says.
fn tell(notes: &[Note], log: &Log) {
    notes.iter().for_each(|note| log.warn(&note.to_string()));
}

/// Prints to standard output.
fn print(text: &str) -> Result<(), OciError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Who read it has read enough.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(OciError::system("write to standard output")(e))
        }
        _ => Ok(()),
    }
}

/// Writes a process id for who watches the file: whole or not at all. The directory may be one in which others write.
fn write_pid(path: Option<&Path>, pid: i32) -> Result<(), OciError> {
    let Some(path) = path else { return Ok(()) };
    let name = path.file_name().ok_or_else(|| OciError::invalid("--pid-file", "it names no file"))?;
    let unique = format!(".{}.{}.{}", name.display(), std::process::id(), berth_sys::clock::now());
    let temporary = path.with_file_name(unique);
    let write = || {
        // Made anew: a link that another has laid there is not followed.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary)?;
        file.write_all(pid.to_string().as_bytes())?;
        std::fs::rename(&temporary, path).inspect_err(|_| drop(std::fs::remove_file(&temporary)))
    };
    write().map_err(OciError::io("write", path))
}
