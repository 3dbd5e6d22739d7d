//! The running program as a sealed memfd.

use std::ffi::CString;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStringExt;

use berth_sys::process::{StringArray, execve};
use rustix::fs::SealFlags;

use crate::OciError;

/// Makes this program run from a sealed copy in memory: at the first call it executes itself again from
/// there, at the second, in the copy, it returns. Call it first in `main`.
///
/// A container that gets hold of `/proc/PID/exe` of its runtime finds the copy, which cannot be written.
///
/// # Errors
/// When the program cannot be read or executed again.
pub(crate) fn seal_program() -> Result<(), OciError> {
    let exe = std::fs::File::open("/proc/self/exe").map_err(OciError::system("open this program"))?;
    let is_sealed = rustix::fs::fcntl_get_seals(&exe).is_ok_and(|seals| seals.contains(SealFlags::WRITE));
    if is_sealed {
        // Otherwise it is called by the number of a descriptor.
        return rustix::thread::set_name(c"berth-oci")
            .map_err(OciError::system("set the name of this process"));
    }
    let copy = berth_sys::memfd::sealed_copy("berth", exe).map_err(|e| match e.kind() {
        std::io::ErrorKind::PermissionDenied => OciError::NoMemfd(e),
        _ => OciError::system("make a sealed memfd")(e),
    })?;
    let strings = |list: Vec<Vec<u8>>| {
        let list = list.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>();
        list.map(StringArray::new).map_err(|e| OciError::system("copy the command line")(e))
    };
    let args = strings(std::env::args_os().map(OsStringExt::into_vec).collect())?;
    let env = std::env::vars_os().map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='));
    let env = strings(env.collect())?;
    let path = CString::new(format!("/proc/self/fd/{}", copy.as_raw_fd()))
        .map_err(|e| OciError::system("copy the command line")(e))?;
    let errno = execve(&path, &args, &env);
    Err(OciError::system("execute the sealed copy of this program")(errno))
}
