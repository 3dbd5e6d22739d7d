//! `exec`: a further process in a container.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use berth_container::plan;
use berth_container::run::{self, Extra};
use berth_sys::cgroup::Cgroup;
use berth_sys::fs::read_bounded;
use oci_spec::runtime::Spec;
use rustix::event::Timespec;
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};

use super::{refused, seal, tell, write_pid};
use crate::cli::Exec;
use crate::console::{ConsoleSocket, Wanted};
use crate::foreground::Foreground;
use crate::identity::has_ended;
use crate::log::Log;
use crate::record::Status;
use crate::store::{Container, Store};
use crate::{OciError, accounts, bundle, stdio};

/// How long a file system in the container may take to show its users.
const PASSWD_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn exec(store: &Store, options: &Exec, log: &Log) -> Result<i32, OciError> {
    refuse(options)?;
    seal(log)?;
    let given = stdio::preserved(options.preserve_fds)?;
    let container = store.open(&options.id)?;
    let record = container.load()?;
    let wrong = |status| {
        let (id, needed) = (options.id.clone(), "running");
        OciError::State { verb: "exec in", id, status, needed }
    };
    match container.status(&record)? {
        Status::Created | Status::Running => {}
        Status::Paused if options.ignore_paused => {}
        status => return Err(wrong(status)),
    }
    let (spec, process) = specified(&container, options)?;
    let terminal = process.terminal().unwrap_or(false);
    let wanted = Wanted { terminal, alone: options.detach };
    let console = ConsoleSocket::wanted(options.console_socket.as_deref(), wanted, "--tty")?;
    let mut plan = bundle::further_process(&spec, &process)?;
    let target = record.open()?.ok_or_else(|| wrong(Status::Stopped))?;
    bundle::set_home(&mut plan, |uid| home(record.pid(), target.as_fd(), uid, log));
    let group = record.group()?;
    let stdio = if terminal { run::Stdio::Terminal } else { stdio::own()? };
    let mut foreground = match options.detach {
        true => None,
        false => Some(Foreground::signals().map_err(OciError::system("set up signals"))?),
    };
    let fds: Vec<_> = given.iter().map(AsFd::as_fd).collect();
    let extra = Extra { fds: &fds, ..Extra::default() };
    let mut running = run::exec_with(&plan, extra, target.as_fd(), stdio, &group.with(Cgroup::join)?)?;
    drop(given);
    tell(&running.notes, log);
    let mut master = running.console.take();
    if let Some(console) = &console
        && let Some(master) = master.take()
    {
        console.send(master.as_fd())?;
    }
    write_pid(options.pid_file.as_deref(), running.pid)?;
    let Some(mut foreground) = foreground.take() else { return Ok(0) };
    if master.is_some() {
        foreground.take_terminal().map_err(OciError::system("take the terminal"))?;
    }
    foreground
        .until_exit(running.pidfd.as_fd(), master, || ())
        .map_err(OciError::system("wait for the process"))
}

fn refuse(options: &Exec) -> Result<(), OciError> {
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if given(&options.process_label) {
        return Err(refused("--process-label", "Berth sets no SELinux labels"));
    }
    if given(&options.cgroup) {
        return Err(refused("--cgroup", "a process joins the container's own cgroup"));
    }
    Ok(())
}

/// The container's specification, and the process that the options say. It goes through the parser of whole specifications, as
/// that refuses what is not known.
fn specified(container: &Container, options: &Exec) -> Result<(Spec, oci_spec::runtime::Process), OciError> {
    let path = container.config();
    let (spec, json) = bundle::read_config(&path)?;
    let process = match &options.process {
        Some(file) => {
            let bytes = read_bounded(file, plan::MAX_SPEC as u64).map_err(OciError::io("read", file))?;
            serde_json::from_slice(&bytes).map_err(|e| OciError::invalid(file.display().to_string(), e))?
        }
        None => {
            let mut whole: Value = serde_json::from_slice(&json)
                .map_err(|e| OciError::invalid(path.display().to_string(), e))?;
            changed(whole["process"].take(), options)?
        }
    };
    let whole = json!({ "ociVersion": spec.version(), "process": process, "root": { "path": "/" } });
    let whole = serde_json::to_vec(&whole).map_err(|e| OciError::invalid("process", e))?;
    let process = plan::parse(&whole)?.process().clone();
    Ok((spec, process.ok_or_else(|| OciError::invalid("process", "there is none"))?))
}

/// The container's own process with what the options say otherwise.
fn changed(mut process: Value, options: &Exec) -> Result<Value, OciError> {
    if options.args.is_empty() {
        return Err(OciError::invalid("the command line", "there is no command to execute"));
    }
    process["args"] = json!(options.args);
    process["terminal"] = json!(options.tty);
    if let Some(cwd) = &options.cwd {
        process["cwd"] = json!(cwd);
    }
    if !options.env.is_empty() {
        let mut env = process["env"].as_array().cloned().unwrap_or_default();
        let name = |entry: &str| entry.split_once('=').map_or(entry, |(name, _)| name).to_owned();
        for new in &options.env {
            // A second one of the same name would not be found.
            env.retain(|old| old.as_str().map(name) != Some(name(new)));
            env.push(json!(new));
        }
        process["env"] = json!(env);
    }
    if let Some(user) = options.user.as_deref() {
        let (uid, gid) = user.split_once(':').map_or((user, None), |(uid, gid)| (uid, Some(gid)));
        let number = |text: &str| {
            text.parse::<u32>()
                .map_err(|_| OciError::invalid("--user", "user and group are numbers, as 1000:1000"))
        };
        // What is not named stays.
        process["user"]["uid"] = json!(number(uid)?);
        if let Some(gid) = gid {
            process["user"]["gid"] = json!(number(gid)?);
        }
    }
    if !options.additional_gids.is_empty() {
        let mut gids = process["user"]["additionalGids"].as_array().cloned().unwrap_or_default();
        gids.extend(options.additional_gids.iter().map(|gid| json!(gid)));
        process["user"]["additionalGids"] = json!(gids);
    }
    if options.no_new_privs {
        process["noNewPrivileges"] = json!(true);
    }
    if let Some(profile) = options.apparmor.as_deref().filter(|name| !name.is_empty()) {
        process["apparmorProfile"] = json!(profile);
    }
    for set in ["bounding", "effective", "permitted"].iter().filter(|_| !options.cap.is_empty()) {
        let mut list = process["capabilities"][*set].as_array().cloned().unwrap_or_default();
        for name in options.cap.iter().map(|name| json!(name)) {
            if !list.contains(&name) {
                list.push(name);
            }
        }
        process["capabilities"][*set] = json!(list);
    }
    Ok(process)
}

/// As the container's own file says.
fn home(pid: i32, target: BorrowedFd<'_>, uid: u32, log: &Log) -> Option<Vec<u8>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty()).ok()?;
    // It was found by the number: that is another's only when the process has ended.
    if has_ended(target, Timespec::default()).unwrap_or(true) {
        return None;
    }
    match accounts::home_within(root.as_fd(), uid, PASSWD_LIMIT) {
        Err(e) if e.kind() == std::io::ErrorKind::TimedOut => {
            let seconds = PASSWD_LIMIT.as_secs();
            log.warn(&format!(
                "/etc/passwd of the container did not answer within {seconds} seconds: HOME is /"
            ));
            None
        }
        home => home.ok(),
    }
}
