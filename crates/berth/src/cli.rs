//! The command line.

mod refused;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::client::Reach;
use crate::command;
use crate::serve::Serve;

/// Berth runs containers the Kubernetes way.
#[derive(Debug, Parser)]
#[command(
    name = "berth",
    version,
    max_term_width = 110,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
struct Cli {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  berth run --rm -it docker.io/library/busybox sh   a shell in a container
  berth play pod.yaml                               the pods of a manifest
  berth logs -f web                                 what pod web writes
  berth serve --network builtin                     a runtime for crictl or a kubelet

berth COMMAND --help tells more. Pods run on without the command line, and without the daemon.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one container in a pod of its own
    Run(command::run::Run),
    /// Make a container as run does, for berth start
    Create(command::create::Create),
    /// Run the pods of a manifest
    Play(command::play::Play),
    /// Stop and remove pods, by name or by their manifest
    Down(command::play::Down),
    /// List containers
    Ps(command::list::Ps),
    /// List pods
    Pods(command::list::Pods),
    /// List workloads: Deployments, Jobs and their like
    Workloads(command::workloads::Workloads),
    /// List services, with what they lead to
    Services(command::services::Services),
    /// Show what a container wrote
    Logs(command::logs::Logs),
    /// Run a command in a running container
    Exec(command::exec::Exec),
    /// Join the input and output of a running container
    Attach(command::exec::Attach),
    /// Stop pods or containers
    Stop(command::change::Stop),
    /// Start what was created, and run stopped pods anew
    Start(command::create::Start),
    /// Stop pods and run them anew
    Restart(command::act::Restart),
    /// Signal containers
    Kill(command::act::Kill),
    /// Stop all processes of containers where they are
    Pause(command::act::Pause),
    /// Let paused containers go on
    Unpause(command::act::Unpause),
    /// Remove pods or containers
    Rm(command::change::Rm),
    /// Copy files out of a container or into it
    Cp(command::copy::Cp),
    /// Lead ports of this machine into a pod
    PortForward(command::forward::PortForward),
    /// List the processes of a container
    Top(command::act::Top),
    /// Show what containers use
    Stats(command::watch::Stats),
    /// Show what happens
    Events(command::watch::Events),
    /// Show a pod in words
    Describe(command::describe::Describe),
    /// Show how a pod started, and why it is not ready
    Explain(command::describe::Explain),
    /// Wait for the end of a container and show its exit status
    Wait(command::change::Wait),
    /// Pull an image
    Pull(command::image::Pull),
    /// Send an image to a registry
    Push(command::push::Push),
    /// Keep the password of a registry
    Login(command::login::Login),
    /// Forget the password of a registry
    Logout(command::login::Logout),
    /// List images
    Images(command::image::Images),
    /// Show the steps that made an image
    History(command::layers::History),
    /// Show what a container changed in its root file system
    Diff(command::layers::Diff),
    /// Give an image another name
    Tag(command::image::Tag),
    /// Remove images
    Rmi(command::image::Rmi),
    /// Add the images of an archive
    Load(command::archive::Load),
    /// Write images into an archive
    Save(command::archive::Save),
    /// Files of any kind in registries: OCI artifacts
    Artifact(command::artifact::Artifact),
    /// Volumes that outlive pods
    Volume(command::volume::Volume),
    /// Show everything known of a pod, container or image, as JSON or YAML
    Inspect(command::list::Inspect),
    /// Remove pods that have ended, and unused images
    Prune(command::prune::Prune),
    /// What is used, and what nobody needs
    System(command::prune::System),
    /// Show what the daemon runs with, and what it can run pods by
    Info(command::info::Info),
    /// Look for what is left behind, and explain it
    Doctor(command::maintenance::Doctor),
    /// Stop and remove everything of an instance
    Purge(command::maintenance::Purge),
    /// Look at the daemon's configuration
    Config(command::config::Config),
    /// Answer kubelets, crictl and this command line
    Serve(Serve),
    /// Write the completions of a shell to standard output
    Completion(command::documents::Completion),
    /// Write what a package carries beside the program
    #[command(hide = true)]
    Documents(command::documents::Documents),
    /// Show versions
    Version(command::maintenance::Version),
    /// How long the stages of the last pod starts took
    #[command(hide = true)]
    Stages(command::maintenance::Stages),
}

/// The whole command line, for what is generated from it.
pub(crate) fn tree() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Parses the arguments and does what they say.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return Ok(refusal(e)),
    };
    let reach = cli.reach.or_environment(|name| std::env::var(name).ok());
    match cli.command {
        Command::Serve(serve) => serve.run(reach.instance).map(|()| ExitCode::SUCCESS),
        Command::Config(config) => config.run(&reach),
        Command::Completion(completion) => completion.run(tree()),
        Command::Documents(documents) => documents.run(tree()),
        Command::Purge(purge) => on_runtime(purge.run(reach)),
        Command::Run(run) => on_runtime(run.run(reach)),
        Command::Create(create) => on_runtime(create.run(reach)),
        Command::Play(play) => on_runtime(play.run(reach)),
        Command::Down(down) => on_runtime(down.run(reach)),
        Command::Ps(ps) => on_runtime(ps.run(reach)),
        Command::Pods(pods) => on_runtime(pods.run(reach)),
        Command::Workloads(workloads) => on_runtime(workloads.run(reach)),
        Command::Services(services) => on_runtime(services.run(reach)),
        Command::Logs(logs) => on_runtime(logs.run(reach)),
        Command::Exec(exec) => on_runtime(exec.run(reach)),
        Command::Attach(attach) => on_runtime(attach.run(reach)),
        Command::Stop(stop) => on_runtime(stop.run(reach)),
        Command::Start(start) => on_runtime(start.run(reach)),
        Command::Restart(restart) => on_runtime(restart.run(reach)),
        Command::Pause(pause) => on_runtime(pause.run(reach)),
        Command::Unpause(unpause) => on_runtime(unpause.run(reach)),
        Command::Kill(kill) => on_runtime(kill.run(reach)),
        Command::Cp(cp) => on_runtime(cp.run(reach)),
        Command::PortForward(forward) => on_runtime(forward.run(reach)),
        Command::Top(top) => on_runtime(top.run(reach)),
        Command::Stats(stats) => on_runtime(stats.run(reach)),
        Command::Events(events) => on_runtime(events.run(reach)),
        Command::Describe(describe) => on_runtime(describe.run(reach)),
        Command::Explain(explain) => on_runtime(explain.run(reach)),
        Command::Tag(tag) => on_runtime(tag.run(reach)),
        Command::Prune(prune) => on_runtime(prune.run(reach)),
        Command::System(system) => on_runtime(system.run(reach)),
        Command::Rm(rm) => on_runtime(rm.run(reach)),
        Command::Wait(wait) => on_runtime(wait.run(reach)),
        Command::Pull(pull) => on_runtime(pull.run(reach)),
        Command::Push(push) => on_runtime(push.run(reach)),
        Command::Login(login) => on_runtime(login.run(reach)),
        Command::Logout(logout) => on_runtime(logout.run()),
        Command::History(history) => on_runtime(history.run(reach)),
        Command::Diff(diff) => on_runtime(diff.run(reach)),
        Command::Images(images) => on_runtime(images.run(reach)),
        Command::Rmi(rmi) => on_runtime(rmi.run(reach)),
        Command::Load(load) => on_runtime(load.run(reach)),
        Command::Save(save) => on_runtime(save.run(reach)),
        Command::Artifact(artifact) => on_runtime(artifact.run(reach)),
        Command::Volume(volume) => on_runtime(volume.run(reach)),
        Command::Inspect(inspect) => on_runtime(inspect.run(reach)),
        Command::Info(info) => on_runtime(info.run(reach)),
        Command::Doctor(doctor) => on_runtime(doctor.run(reach)),
        Command::Version(version) => on_runtime(version.run(reach)),
        Command::Stages(stages) => on_runtime(stages.run(reach)),
    }
}

/// What is said of arguments that cannot be.
fn refusal(e: clap::Error) -> ExitCode {
    // As docker and podman: a container's own status is never confused with a wrong flag's.
    if let Some(said) = refused::explain(&e) {
        crate::output::complain(&said);
        return ExitCode::from(command::FAILED);
    }
    let e = refused::without_harm(e);
    let code = if e.use_stderr() { ExitCode::from(command::FAILED) } else { ExitCode::SUCCESS };
    // No help is needed when the reader went away.
    e.print().ok();
    code
}

fn on_runtime(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // A pending read of the terminal must not delay the end.
    runtime.shutdown_background();
    result
}
