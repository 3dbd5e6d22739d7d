//! What a URL of the streaming server stands for.

use berth_streaming::request::{Attach, Exec, PortForward, Wanted};
use berth_types::{ContainerId, SandboxId};

use crate::api;
use crate::error::FieldError;

/// A command in this container.
pub(crate) fn exec(container: ContainerId, request: api::ExecRequest) -> Result<Exec, FieldError> {
    let api::ExecRequest { cmd, tty, stdin, stdout, stderr, .. } = request;
    let streams = streams(Wanted { stdin, stdout, stderr }, tty)?;
    if cmd.is_empty() {
        return Err(FieldError::Missing("cmd"));
    }
    Ok(Exec { container, argv: cmd, tty, streams })
}

/// The stdio of this container.
pub(crate) fn attach(container: ContainerId, request: &api::AttachRequest) -> Result<Attach, FieldError> {
    let api::AttachRequest { tty, stdin, stdout, stderr, .. } = *request;
    let streams = streams(Wanted { stdin, stdout, stderr }, tty)?;
    Ok(Attach { container, tty, streams })
}

/// Ports of this sandbox.
pub(crate) fn port_forward(sandbox: SandboxId, ports: &[i32]) -> Result<PortForward, FieldError> {
    let port = |port: &i32| {
        let number = u16::try_from(*port).ok().filter(|number| *number > 0);
        number.ok_or_else(|| FieldError::invalid("port", format!("{port} is not a port")))
    };
    Ok(PortForward { sandbox, ports: ports.iter().map(port).collect::<Result<_, _>>()? })
}

fn streams(wanted: Wanted, tty: bool) -> Result<Wanted, FieldError> {
    if tty && wanted.stderr {
        return Err(FieldError::invalid("stderr", "a process with a terminal (tty) has no standard error"));
    }
    if wanted == Wanted::default() {
        return Err(FieldError::invalid("stdin, stdout, stderr", "one of them must be set"));
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> ContainerId {
        ContainerId::from_random([1; 32])
    }

    /// contract 50
    #[test]
    fn a_terminal_has_no_standard_error_and_a_client_wants_something() {
        let asked = |tty, stdin, stdout, stderr| {
            let request = api::AttachRequest { tty, stdin, stdout, stderr, ..Default::default() };
            attach(container(), &request).map(|attach| attach.streams)
        };
        assert_eq!(asked(false, true, true, true), Ok(Wanted { stdin: true, stdout: true, stderr: true }));
        assert_eq!(asked(true, false, true, false), Ok(Wanted { stdout: true, ..Wanted::default() }));
        assert!(asked(true, true, true, true).unwrap_err().to_string().contains("stderr"));
        assert!(asked(false, false, false, false).is_err());
        let nothing = api::ExecRequest { stdout: true, ..Default::default() };
        assert_eq!(exec(container(), nothing), Err(FieldError::Missing("cmd")));
    }

    #[test]
    fn ports_are_ports() {
        let ports =
            |list: &[i32]| port_forward(SandboxId::from_random([1; 32]), list).map(|asked| asked.ports);
        assert_eq!(ports(&[]), Ok(vec![]));
        assert_eq!(ports(&[1, 65535]), Ok(vec![1, 65535]));
        for wrong in [0, -1, 65536] {
            assert!(ports(&[80, wrong]).is_err(), "{wrong}");
        }
    }
}
