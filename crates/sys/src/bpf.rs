//! eBPF programs that guard the devices of a cgroup: an assembler for what they need, and the
//! calls that load and attach them (bpf(2), `BPF_PROG_TYPE_CGROUP_DEVICE`).

#![allow(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// One instruction, in the kernel's form (`struct bpf_insn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// A register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "they are numbers")]
pub enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
}

impl Insn {
    const fn new(code: u8, to: Reg, from: Reg, offset: i16, immediate: i32) -> Insn {
        Insn { code, registers: (from as u8) << 4 | to as u8, offset, immediate }
    }

    /// This jump, over so many instructions.
    #[must_use]
    pub fn jumping_over(self, count: usize) -> Insn {
        Insn { offset: i16::try_from(count).expect("the tests of one rule are a dozen instructions"), ..self }
    }
}

/// `to = *(u32 *)(from + offset)`
pub const fn load_word(to: Reg, from: Reg, offset: i16) -> Insn {
    Insn::new(0x61, to, from, offset, 0)
}

/// `to = from`
pub const fn copy(to: Reg, from: Reg) -> Insn {
    Insn::new(0xbf, to, from, 0, 0)
}

/// `to = value`
pub const fn set(to: Reg, value: i32) -> Insn {
    Insn::new(0xb7, to, Reg::R0, 0, value)
}

/// `to &= value`, in 32 bits
pub const fn and(to: Reg, value: i32) -> Insn {
    Insn::new(0x54, to, Reg::R0, 0, value)
}

/// `to >>= count`, in 32 bits
pub const fn shift_right(to: Reg, count: i32) -> Insn {
    Insn::new(0x74, to, Reg::R0, 0, count)
}

/// A jump when the low 32 bits equal `value`.
pub const fn jump_equal(register: Reg, value: i32) -> Insn {
    Insn::new(0x16, register, Reg::R0, 0, value)
}

/// A jump when the low 32 bits differ from `value`.
pub const fn jump_not_equal(register: Reg, value: i32) -> Insn {
    Insn::new(0x56, register, Reg::R0, 0, value)
}

/// A jump when the low 32 bits of two registers differ.
pub const fn jump_not_equal_reg(a: Reg, b: Reg) -> Insn {
    Insn::new(0x5e, a, b, 0, 0)
}

/// Returns `R0`.
pub const fn exit() -> Insn {
    Insn::new(0x95, Reg::R0, Reg::R0, 0, 0)
}

/// Why bpf(2) failed.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The kernel refused the program.
    #[error("load eBPF program{log}")]
    Load {
        /// The last line of the verifier's log, after a colon.
        log: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Attaching, detaching or querying failed.
    #[error("{action} eBPF program")]
    Call {
        /// `attach`, `detach`, `query` or `open`.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

/// A loaded program.
#[derive(Debug)]
pub struct Program(OwnedFd);

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 2;
/// The kernel attaches at most 64 programs to one cgroup.
const MAX_ATTACHED: usize = 64;

/// The start of `union bpf_attr` for BPF_PROG_LOAD; the kernel takes the rest for zero.
#[repr(C)]
struct LoadAttr {
    kind: u32,
    count: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

/// For BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
struct AttachAttr {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replace: u32,
}

/// For BPF_PROG_QUERY.
#[repr(C)]
struct QueryAttr {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    pad: u32,
}

/// For BPF_PROG_GET_FD_BY_ID.
#[repr(C)]
struct IdAttr {
    id: u32,
    next: u32,
    flags: u32,
}

/// SAFETY: `attr` must be the structure of that command, and the addresses in it must be valid for
/// what the kernel does with them.
unsafe fn call<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the pointer and the size are those of one live value; the rest is up to the caller.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.addr() as u64
}

fn number(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn owned(fd: libc::c_long) -> OwnedFd {
    let fd = RawFd::try_from(fd).expect("descriptors are small numbers");
    // SAFETY: the kernel has just made this descriptor for us and nothing else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

impl Program {
    /// Loads a program that decides about devices. The last line of the verifier's log is in the error.
    pub fn load_device(code: &[Insn]) -> Result<Program, BpfError> {
        match load(code, &mut []) {
            Ok(fd) => Ok(Program(fd)),
            Err(source) => {
                let mut log = vec![0u8; 64 << 10];
                // Once more for the log: it slows down the load that succeeds.
                drop(load(code, &mut log));
                let text = String::from_utf8_lossy(&log);
                let mut said = String::new();
                if let Some(line) = text.trim_end_matches('\0').lines().rev().find(|l| !l.is_empty()) {
                    write!(said, ": {line}").expect("writing to a string succeeds");
                }
                Err(BpfError::Load { log: said, source })
            }
        }
    }

    /// Attaches it to a v2 cgroup beside those that are attached already.
    pub fn attach_device(&self, group: &OwnedFd) -> Result<(), BpfError> {
        self.attachment(PROG_ATTACH, "attach", F_ALLOW_MULTI, group)
    }

    /// Detaches it.
    pub fn detach_device(&self, group: &OwnedFd) -> Result<(), BpfError> {
        self.attachment(PROG_DETACH, "detach", 0, group)
    }

    fn attachment(
        &self,
        command: libc::c_int,
        action: &'static str,
        flags: u32,
        group: &OwnedFd,
    ) -> Result<(), BpfError> {
        let program = number(&self.0);
        let mut attr =
            AttachAttr { target: number(group), program, kind: ATTACH_CGROUP_DEVICE, flags, replace: 0 };
        // SAFETY: the structure belongs to both commands and holds no addresses.
        unsafe { call(command, &mut attr) }.map(drop).map_err(|source| BpfError::Call { action, source })
    }
}

fn load(code: &[Insn], log: &mut [u8]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut attr = LoadAttr {
        kind: TYPE_CGROUP_DEVICE,
        count: u32::try_from(code.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        insns: address(code.as_ptr()),
        license: address(license.as_ptr()),
        log_level: u32::from(!log.is_empty()),
        log_size: u32::try_from(log.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        log: if log.is_empty() { 0 } else { address(log.as_mut_ptr()) },
    };
    // SAFETY: code and license are read and log is written within their lengths during the call.
    unsafe { call(PROG_LOAD, &mut attr) }.map(owned)
}

/// The programs about devices that are attached to the group itself.
pub fn attached_devices(group: &OwnedFd) -> Result<Vec<Program>, BpfError> {
    let mut ids = [0u32; MAX_ATTACHED];
    let mut attr = QueryAttr {
        target: number(group),
        kind: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: address(ids.as_mut_ptr()),
        count: 64,
        pad: 0,
    };
    // SAFETY: the kernel writes at most `count` ids into the array.
    unsafe { call(PROG_QUERY, &mut attr) }.map_err(|source| BpfError::Call { action: "query", source })?;
    let count = usize::try_from(attr.count).unwrap_or(0).min(MAX_ATTACHED);
    ids[..count].iter().filter_map(|id| by_id(*id).transpose()).collect()
}

/// The program of that id, unless it was unloaded meanwhile.
fn by_id(id: u32) -> Result<Option<Program>, BpfError> {
    let mut attr = IdAttr { id, next: 0, flags: 0 };
    // SAFETY: the structure belongs to the command and holds no addresses.
    match unsafe { call(PROG_GET_FD_BY_ID, &mut attr) } {
        Ok(fd) => Ok(Some(Program(owned(fd)))),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(source) => Err(BpfError::Call { action: "open", source }),
    }
}

impl std::os::fd::AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
pub(crate) use tests::interpret;
