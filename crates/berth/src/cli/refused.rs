//! What users of docker, podman and kubectl type and Berth does not do: each word with the reason and what to do instead.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A word that is refused.
struct Refused {
    /// A command, or flags of `run`, all of which are refused for the same reason.
    words: &'static [&'static str],
    reason: &'static str,
    instead: &'static str,
}

const fn refused(words: &'static [&'static str], reason: &'static str, instead: &'static str) -> Refused {
    Refused { words, reason, instead }
}

/// Commands.
const COMMANDS: &[Refused] = &[
    refused(
        &["build", "buildx", "builder", "bake"],
        "Berth builds no images",
        "build with buildah, podman or docker, save it as an archive, and: berth load -i FILE",
    ),
    refused(&["init"], "the words are podman's", "berth run --init gives a pod a first process of Berth's"),
    refused(&["port"], "the word is not needed", "berth ps shows the ports of each container"),
    refused(&["apply"], "there is no API server here that would keep the wish", "berth play --replace FILE"),
    refused(&["delete"], "the words are kubectl's", "berth down FILE|POD, or berth rm POD"),
    refused(&["get"], "the words are kubectl's", "berth pods, berth ps or berth images"),
    refused(
        &["compose"],
        "Berth does not read compose files",
        "write pods for berth play; kompose converts files",
    ),
    refused(
        &["commit"],
        "Berth makes no images of containers",
        "build an image with buildah, podman or docker, and berth load it",
    ),
    refused(
        &["export"],
        "the root of a container is not exported",
        "berth exec NAME tar -C / -c . > FILE, while it runs",
    ),
    refused(
        &["import"],
        "a bare root file system is no image",
        "make an image of it with buildah or docker import, and berth load it",
    ),
    refused(&["search"], "registries have no common way to search", "look in the registry's own pages"),
    refused(&["manifest"], "Berth does not edit images", "skopeo, crane or docker manifest do"),
    refused(
        &["network"],
        "pods have one network, which the daemon makes",
        "berth serve --network chooses it; berth pods shows addresses",
    ),
    refused(
        &["secret"],
        "secrets are documents of a manifest",
        "put Secret and ConfigMap into the file of berth play",
    ),
    refused(
        &["context", "machine"],
        "a daemon is chosen by its socket",
        "--host unix:///PATH, --instance NAME, or BERTH_HOST",
    ),
    refused(
        &["swarm", "service", "stack", "node"],
        "Berth is for one machine",
        "Kubernetes, with Berth as its runtime: berth serve",
    ),
    refused(
        &["plugin", "trust", "scout"],
        "there are no plugins of docker's kind",
        "berth COMMAND --help lists what there is",
    ),
    refused(&["checkpoint", "restore"], "containers are not checkpointed", "berth stop ends one"),
    refused(
        &["generate"],
        "units and manifests are not generated",
        "the Debian package has a unit for berth serve",
    ),
    refused(
        &["mount", "unmount", "umount"],
        "the root of a container is mounted in its own namespace alone",
        "berth cp copies files",
    ),
    refused(
        &["update"],
        "limits of a container are not changed while it runs",
        "berth run it again with other limits",
    ),
    refused(&["rename"], "a pod keeps the name that it was made with", "berth run --name NEW makes another"),
    refused(
        &["cordon", "drain", "scale", "rollout", "edit", "patch", "expose"],
        "there is no API server here",
        "change the file, and berth play --replace FILE",
    ),
    refused(&["kube"], "the words are podman's", "berth play FILE, berth down FILE"),
    refused(&["container"], "the word is not needed", "berth ps, berth stop, berth rm, berth inspect, ..."),
    refused(&["image"], "the word is not needed", "berth images, berth pull, berth rmi, berth inspect, ..."),
    refused(&["pod"], "the word is not needed", "berth pods, berth stop, berth rm, berth inspect, ..."),
];

/// Flags of `run`.
const FLAGS: &[Refused] = &[
    refused(
        &["--gpus"],
        "GPUs are named, not counted",
        "--device nvidia.com/gpu=all, where the driver's files for the Container Device Interface are installed; with --runtime runc, \
         where they have hooks",
    ),
    refused(
        &["--log-driver", "--log-opt"],
        "logs go to files in the form of the CRI, which are rotated at 10 MiB; five are kept",
        "berth logs NAME",
    ),
    refused(
        &["--ip", "--ip6", "--mac-address", "--network-alias", "--link", "--link-local-ip"],
        "a pod's address is chosen by its network, and pods find each other by address alone",
        "berth pods shows addresses; --add-host NAME:IP gives one a name",
    ),
    refused(
        &["--pod", "--volumes-from", "--cgroup-parent", "--cgroupns"],
        "a container of run is a pod of its own",
        "containers that belong together are one manifest: berth play",
    ),
    refused(
        &["--uts", "--domainname"],
        "the host name is the pod's own",
        "-h NAME sets it; with --network host it is this machine's",
    ),
    refused(
        &["--platform", "--arch", "--os", "--variant"],
        "an image is run for this machine; no emulator is set up",
        "berth pull --platform OS/ARCH only stores another one",
    ),
    refused(
        &["--publish-all", "-P"],
        "ports of the image are not published by themselves",
        "-p PORT for each; berth inspect IMAGE lists them",
    ),
    refused(
        &["--attach", "-a", "--sig-proxy", "--detach-keys"],
        "what is passed on is fixed: output always, input with -i, Ctrl-C as a stop; Ctrl-P and Ctrl-Q leave a terminal",
        "-d for none of it, and berth attach or logs later",
    ),
    refused(
        &[
            "--memory-reservation",
            "--memory-swappiness",
            "--kernel-memory",
            "--oom-kill-disable",
            "--blkio-weight",
            "--blkio-weight-device",
            "--device-read-bps",
            "--device-read-iops",
            "--device-write-bps",
            "--device-write-iops",
            "--cpu-period",
            "--cpu-quota",
            "--cpu-rt-period",
            "--cpu-rt-runtime",
            "--cgroup-conf",
        ],
        "this limit is not set",
        "-m, --memory-swap, --cpus, -c, --cpuset-cpus and --pids-limit are",
    ),
    refused(
        &["--device-cgroup-rule"],
        "devices are allowed one by one",
        "--device PATH, or --privileged for all",
    ),
    refused(
        &["--volume-driver", "--rootfs", "--read-only-tmpfs"],
        "the root is an overlay of the image's layers",
        "-v, --mount and --tmpfs add to it",
    ),
    refused(
        &["--label-file", "--env-host", "--unsetenv", "--unsetenv-all", "--http-proxy", "--env-merge"],
        "labels and variables are given one by one",
        "-l, -e and --env-file",
    ),
    refused(
        &["--uidmap", "--gidmap", "--subuidname", "--subgidname"],
        "ids of user namespaces are chosen by Berth",
        "--userns auto",
    ),
    refused(
        &["--health-start-interval", "--health-on-failure", "--health-startup-cmd"],
        "health checks only show whether a container can serve",
        "livenessProbe and startupProbe of a manifest do more: berth play",
    ),
    refused(
        &["--systemd", "--sdnotify", "--passwd", "--tz", "--umask", "--secret", "--hostuser"],
        "what podman does for it is not done",
        "do it in the image or in the command",
    ),
    refused(
        &["--isolation", "--disable-content-trust", "--requires", "--rmi", "--preserve-fds"],
        "there is nothing of this kind",
        "leave it out",
    ),
];

/// What to say instead of clap's words; nothing where those are right.
pub(super) fn explain(error: &clap::Error) -> Option<String> {
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.clone()),
        Some(ContextValue::StyledStr(text)) => Some(text.to_string()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = said(ContextKind::InvalidSubcommand)?;
            let found = find(COMMANDS, &word)?;
            Some(format!("berth {word} does not exist: {} (hint: {})", found.reason, found.instead))
        }
        ErrorKind::UnknownArgument => {
            let usage = said(ContextKind::Usage)?;
            let command = ["run", "create"].into_iter().find(|of| usage.contains(&format!("berth {of}")))?;
            let word = said(ContextKind::InvalidArg)?;
            let found = find(FLAGS, word.split('=').next().unwrap_or_default())?;
            Some(format!("{command} {word} is not supported: {} (hint: {})", found.reason, found.instead))
        }
        _ => None,
    }
}

fn find<'a>(table: &'a [Refused], word: &str) -> Option<&'a Refused> {
    table.iter().find(|refused| refused.words.contains(&word))
}

/// Takes hidden commands, and others that only look alike and do harm, out of clap's suggestions.
pub(super) fn without_harm(mut error: clap::Error) -> clap::Error {
    let harmful = |word: &str| matches!(word, "purge" | "stages" | "documents");
    let kept = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(words)) => {
            words.iter().filter(|word| !harmful(word)).cloned().collect::<Vec<_>>()
        }
        Some(ContextValue::String(word)) if harmful(word) => Vec::new(),
        _ => return error,
    };
    error.remove(ContextKind::SuggestedSubcommand);
    if !kept.is_empty() {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(kept));
    }
    error
}

#[cfg(test)]
mod tests;
