//! The command line: that of runc. An option that is not obeyed is refused by its name, when the command is run.

use std::path::PathBuf;

/// An OCI runtime: runs containers for podman, docker, containerd, CRI-O and by hand
#[derive(Debug, clap::Parser)]
#[command(
    name = "berth-oci",
    disable_version_flag = true,
    disable_help_subcommand = true,
    args_override_self = true,
    arg_required_else_help = true
)]
pub struct Args {
    /// Options of all commands.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// Options of all commands.
#[derive(Debug, clap::Args)]
pub struct Globals {
    /// Directory for the state of containers
    #[arg(long, value_name = "DIR", default_value = "/run/berth-oci")]
    pub(crate) root: PathBuf,
    /// File to which messages are appended, beside standard error
    #[arg(long, value_name = "FILE", value_parser = file)]
    pub(crate) log: Option<PathBuf>,
    /// Format of that file
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Write more messages
    #[arg(long)]
    pub(crate) debug: bool,
    /// Not supported: have systemd make the cgroup
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub(crate) systemd_cgroup: bool,
    /// Not supported: run without root's rights (auto and false are obeyed)
    #[arg(long, value_name = "WHETHER", default_value = "auto")]
    pub(crate) rootless: String,
    /// Not supported: path of criu
    #[arg(long, value_name = "FILE", value_parser = file, hide = true)]
    pub(crate) criu: Option<PathBuf>,
    /// Print versions
    #[arg(short = 'v', long)]
    pub(crate) version: bool,
}

/// Formats of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Formats of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

impl Args {
    /// Without the files of no name, which callers give for none.
    pub(crate) fn without_empty_names(mut self) -> Self {
        let files = [&mut self.globals.log, &mut self.globals.criu].into_iter();
        let of_verb = match &mut self.verb {
            Some(Verb::Create(create) | Verb::Run(Run { create, .. })) => {
                vec![&mut create.console_socket, &mut create.pid_file]
            }
            Some(Verb::Exec(exec)) => vec![&mut exec.console_socket, &mut exec.pid_file, &mut exec.process],
            Some(Verb::Update(update)) => vec![&mut update.resources],
            _ => Vec::new(),
        };
        for file in files.chain(of_verb) {
            file.take_if(|path| path.as_os_str().is_empty());
        }
        self
    }
}

/// A path that may be empty.
fn file(text: &str) -> Result<PathBuf, std::convert::Infallible> {
    Ok(PathBuf::from(text))
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Make a container; it waits for its start
    Create(Create),
    /// Start a container that was created
    Start { id: String },
    /// Print the state of a container
    State { id: String },
    /// Send a signal to a container
    Kill(Kill),
    /// Remove what is left of a container
    Delete {
        id: String,
        /// Kill it first; nothing is wrong when there is none
        #[arg(short, long)]
        force: bool,
    },
    /// Run a further process in a container
    Exec(Box<Exec>),
    /// Make and start a container, wait for its end and remove it
    Run(Run),
    /// List the processes of a container
    Ps {
        #[arg(short, long, default_value = "table")]
        format: Format,
        id: String,
        /// Options for ps(1) [default: -ef]
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Stop all processes of a container where they are
    Pause { id: String },
    /// Let them go on
    Resume { id: String },
    /// Set other limits
    Update(Box<Update>),
    /// Print what a container uses, again and again, and when it ran out of memory
    Events {
        /// Time between two reports, as 500ms, 5s or 1m
        #[arg(long, default_value = "5s")]
        interval: String,
        /// Report once
        #[arg(long)]
        stats: bool,
        id: String,
    },
    /// Print what this runtime can do
    Features,
    /// List containers
    List {
        #[arg(short, long, default_value = "table")]
        format: Format,
        /// Names only
        #[arg(short, long)]
        quiet: bool,
    },
    /// Write a config.json to begin with
    Spec {
        /// Directory in which it is written
        #[arg(short, long)]
        bundle: Option<PathBuf>,
        /// Not supported: for a container without root's rights
        #[arg(long)]
        rootless: bool,
    },
    /// Not supported: write a container's memory to disk
    #[command(hide = true)]
    Checkpoint(Anything),
    /// Not supported: the way back
    #[command(hide = true)]
    Restore(Anything),
}

/// Whatever belongs to a command that is refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _words: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Directory with config.json and, mostly, the root file system
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// Socket to which the master of the container's terminal is sent
    #[arg(long, value_name = "PATH", value_parser = file)]
    pub(crate) console_socket: Option<PathBuf>,
    /// File for the process id
    #[arg(long, value_name = "FILE", value_parser = file)]
    pub(crate) pid_file: Option<PathBuf>,
    /// Not supported: a root without pivot_root
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Not supported: the session keyring of the caller
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
    /// How many descriptors after standard error the container's process gets
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    pub(crate) id: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) create: Create,
    /// Do not wait for its end
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Do not remove it when it has ended
    #[arg(long)]
    pub(crate) keep: bool,
    /// Not supported: take no orphans
    #[arg(long)]
    pub(crate) no_subreaper: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Kill {
    /// All processes of the container
    #[arg(short, long)]
    pub(crate) all: bool,
    pub(crate) id: String,
    /// A number, or a name with or without SIG
    #[arg(default_value = "TERM")]
    pub(crate) signal: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    /// File with the process as config.json has it
    #[arg(short, long, value_name = "FILE", value_parser = file)]
    pub(crate) process: Option<PathBuf>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,
    /// NAME=value to add to the environment
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// With a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// User and group ids
    #[arg(short, long, value_name = "UID[:GID]")]
    pub(crate) user: Option<String>,
    /// Further group ids
    #[arg(short = 'g', long, value_name = "GID")]
    pub(crate) additional_gids: Vec<u32>,
    /// Do not wait for its end
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// File for the process id
    #[arg(long, value_name = "FILE", value_parser = file)]
    pub(crate) pid_file: Option<PathBuf>,
    /// Socket to which the master of the terminal is sent
    #[arg(long, value_name = "PATH", value_parser = file)]
    pub(crate) console_socket: Option<PathBuf>,
    /// Capability to add
    #[arg(short, long, value_name = "NAME")]
    pub(crate) cap: Vec<String>,
    /// No program that is executed gives more rights
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// AppArmor profile
    #[arg(long, value_name = "NAME")]
    pub(crate) apparmor: Option<String>,
    /// Not supported: SELinux label
    #[arg(long, value_name = "LABEL")]
    pub(crate) process_label: Option<String>,
    /// Not supported: a group below the container's
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup: Option<String>,
    /// Also in a container that is paused
    #[arg(long)]
    pub(crate) ignore_paused: bool,
    /// How many descriptors after standard error the process gets
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) preserve_fds: u32,
    pub(crate) id: String,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    /// File with linux.resources, - for standard input; no other option counts then
    #[arg(short, long, value_name = "FILE", value_parser = file)]
    pub(crate) resources: Option<PathBuf>,
    /// Relative share of block I/O, 10 to 1000
    #[arg(long)]
    pub(crate) blkio_weight: Option<u64>,
    /// Microseconds for which --cpu-quota counts
    #[arg(long)]
    pub(crate) cpu_period: Option<u64>,
    /// Microseconds of CPU time in each period
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// Microseconds that may be saved up
    #[arg(long)]
    pub(crate) cpu_burst: Option<u64>,
    /// Microseconds for which --cpu-rt-runtime counts
    #[arg(long)]
    pub(crate) cpu_rt_period: Option<u64>,
    /// Microseconds of real-time scheduling in each period
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) cpu_rt_runtime: Option<i64>,
    /// Relative share of CPU time
    #[arg(long)]
    pub(crate) cpu_share: Option<u64>,
    /// 1: only what others leave
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) cpu_idle: Option<i64>,
    /// CPUs, as 0-3,7
    #[arg(long)]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes, as 0-1
    #[arg(long)]
    pub(crate) cpuset_mems: Option<String>,
    /// Not supported: limit of kernel memory
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) kernel_memory: Option<String>,
    /// Not supported: limit of TCP memory
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) kernel_memory_tcp: Option<String>,
    /// Bytes of memory, with k, m or g behind; -1 is no limit
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) memory: Option<String>,
    /// Soft limit
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) memory_reservation: Option<String>,
    /// Memory and swap together
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<String>,
    /// Processes and threads; -1 is no limit
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Not supported: Intel RDT
    #[arg(long)]
    pub(crate) l3_cache_schema: Option<String>,
    /// Not supported: Intel RDT
    #[arg(long)]
    pub(crate) mem_bw_schema: Option<String>,
    pub(crate) id: String,
}
