//! The program of the container that a self-check runs: it writes a word and ends with 0. It is put together here, so that it
//! needs no library, no loader and no image, and so that the word is known from nothing but its execution: it is neither an
//! argument nor in the container's configuration.

/// Where the program is in memory; the usual place of static programs.
const BASE: u64 = 0x40_0000;
/// The head of the file, and the description of its only segment.
const HEAD: u64 = 64 + 56;
/// Machines, as the file names them.
const X86_64: u16 = 62;
const AARCH64: u16 = 183;
/// The longest word.
const MAX_WORD: usize = 255;

/// The program for this machine; None where its instructions are not known here.
pub(super) fn elf(word: &str) -> Option<Vec<u8>> {
    elf_for(std::env::consts::ARCH, word)
}

pub(super) fn elf_for(arch: &str, word: &str) -> Option<Vec<u8>> {
    let length = u8::try_from(word.len().min(MAX_WORD)).ok()?;
    let (machine, code): (u16, Vec<u8>) = match arch {
        "x86_64" => (X86_64, x86_64(length)),
        "aarch64" => (AARCH64, aarch64(length)),
        _ => return None,
    };
    file(machine, &code, word.as_bytes().get(..usize::from(length))?)
}

/// A program that only waits, and whose children that end are gone at once; None where this machine's instructions are not
/// known here.
pub(in crate::handler) fn pause() -> Option<Vec<u8>> {
    pause_for(std::env::consts::ARCH)
}

fn pause_for(arch: &str) -> Option<Vec<u8>> {
    let (machine, code) = match arch {
        "x86_64" => (X86_64, pause_x86_64()),
        "aarch64" => (AARCH64, pause_aarch64()),
        _ => return None,
    };
    // struct kernel_sigaction: SIG_IGN, no flags, nothing to return to, no signal blocked
    let action: Vec<u8> = [1u64, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    file(machine, &code, &action)
}

/// A program of these instructions, with data behind them.
fn file(machine: u16, code: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let size = HEAD + u64::try_from(code.len() + data.len()).ok()?;
    // ELF-64: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut put = |bytes: &[u8]| file.extend_from_slice(bytes);
    put(&2u16.to_le_bytes()); // executable at a fixed place
    put(&machine.to_le_bytes());
    put(&1u32.to_le_bytes());
    put(&(BASE + HEAD).to_le_bytes()); // the first instruction
    put(&64u64.to_le_bytes()); // segments
    put(&0u64.to_le_bytes()); // no sections
    put(&0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        put(&half.to_le_bytes());
    }
    put(&1u32.to_le_bytes()); // loaded
    put(&5u32.to_le_bytes()); // to be read and executed
    for word in [0, BASE, BASE, size, size, 0x1000] {
        put(&word.to_le_bytes());
    }
    put(code);
    put(data);
    Some(file)
}

/// rt_sigaction(SIGCHLD, data, 0, 8); then pause() for ever
fn pause_x86_64() -> Vec<u8> {
    let mut code = vec![0xbf, 17, 0, 0, 0]; // mov edi, 17 (SIGCHLD)
    code.extend([0x48, 0x8d, 0x35, 24, 0, 0, 0]); // lea rsi, [rip + 24]: behind the last instruction
    code.extend([0x31, 0xd2]); // xor edx, edx
    code.extend([0x41, 0xba, 8, 0, 0, 0]); // mov r10d, 8
    code.extend([0xb8, 13, 0, 0, 0]); // mov eax, 13 (rt_sigaction)
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xb8, 34, 0, 0, 0]); // mov eax, 34 (pause)
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xeb, 0xf7]); // jmp 9 bytes back
    code
}

/// The same, waiting by ppoll(0, 0, 0, 0, 8).
fn pause_aarch64() -> Vec<u8> {
    let code: [u32; 14] = [
        0xd280_0220, // mov x0, 17
        0x1000_01a1, // adr x1, 52 bytes on: behind the last instruction
        0xd280_0002, // mov x2, 0
        0xd280_0103, // mov x3, 8
        0xd280_10c8, // mov x8, 134 (rt_sigaction)
        0xd400_0001, // svc 0
        0xd280_0000, // mov x0, 0
        0xd280_0001, // mov x1, 0
        0xd280_0002, // mov x2, 0
        0xd280_0003, // mov x3, 0
        0xd280_0104, // mov x4, 8
        0xd280_0928, // mov x8, 73 (ppoll)
        0xd400_0001, // svc 0
        0x17ff_fff9, // b 28 bytes back
    ];
    code.iter().flat_map(|instruction| instruction.to_le_bytes()).collect()
}

/// write(1, word, length); exit_group(0)
fn x86_64(length: u8) -> Vec<u8> {
    let mut code = vec![0xbf, 1, 0, 0, 0]; // mov edi, 1
    code.extend([0x48, 0x8d, 0x35, 21, 0, 0, 0]); // lea rsi, [rip + 21]: behind the last instruction
    code.extend([0xba, length, 0, 0, 0]); // mov edx, length
    code.extend([0xb8, 1, 0, 0, 0]); // mov eax, 1 (write)
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0x31, 0xff]); // xor edi, edi
    code.extend([0xb8, 231, 0, 0, 0]); // mov eax, 231 (exit_group)
    code.extend([0x0f, 0x05]); // syscall
    code
}

/// The same.
fn aarch64(length: u8) -> Vec<u8> {
    let code: [u32; 8] = [
        0xd280_0020,                            // mov x0, 1
        0x1000_00e1,                            // adr x1, 28 bytes on: behind the last instruction
        0xd280_0002 | (u32::from(length) << 5), // mov x2, length
        0xd280_0808,                            // mov x8, 64 (write)
        0xd400_0001,                            // svc 0
        0xd280_0000,                            // mov x0, 0
        0xd280_0bc8,                            // mov x8, 94 (exit_group)
        0xd400_0001,                            // svc 0
    ];
    code.iter().flat_map(|instruction| instruction.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn it_writes_its_word_and_ends_with_zero() {
        let dir = tempfile::tempdir().unwrap();
        for word in ["x", "a-word-of-16-hex", &"w".repeat(MAX_WORD)] {
            let path = dir.path().join(format!("program-{}", word.len()));
            std::fs::write(&path, elf(word).unwrap()).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            let output = Command::new(&path).output().unwrap();
            assert_eq!((output.status.code(), output.stdout), (Some(0), word.as_bytes().to_vec()));
        }
    }

    #[test]
    fn the_one_that_waits_lives_until_it_is_killed() {
        use std::os::unix::process::ExitStatusExt as _;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pause");
        std::fs::write(&path, pause().unwrap()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = Command::new(&path).spawn().unwrap();
        let status = format!("/proc/{}/status", child.id());
        let ignored = || {
            let text = std::fs::read_to_string(&status).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim().to_owned();
            u64::from_str_radix(&line, 16).unwrap() & (1 << 16) != 0
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !ignored() {
            assert!(std::time::Instant::now() < deadline, "it does not ignore SIGCHLD");
            std::thread::yield_now();
        }
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        // lea ends at byte 12 and adr begins at byte 4.
        assert_eq!((pause_x86_64().len(), pause_aarch64().len()), (12 + 24, 4 + 52));
    }

    #[test]
    fn the_word_lies_where_the_instructions_look_for_it() {
        // lea ends at byte 12 and adr begins at byte 4.
        assert_eq!(x86_64(1).len(), 12 + 21);
        assert_eq!(aarch64(1).len(), 4 + 28);
        assert_eq!(elf_for("riscv64", "x"), None);
        for arch in ["x86_64", "aarch64"] {
            assert!(elf_for(arch, "the-word").unwrap().ends_with(b"the-word"));
        }
    }
}
