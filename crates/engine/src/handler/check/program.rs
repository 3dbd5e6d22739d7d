//! The program of the container that a self-check runs: it writes a word and ends with 0. It is put together here, so that it
//! needs no library, no loader and no image, and so that the word is known from nothing but its execution: it is neither an
//! argument nor in the container's configuration.

/// Where the program is in memory; the usual place of static programs.
const BASE: u64 = 0x40_0000;
/// The head of the file, and the description of its only segment.
const HEAD: u64 = 64 + 56;
/// The longest word.
const MAX_WORD: usize = 255;

/// The program for this machine; None where its instructions are not known here.
pub(super) fn elf(word: &str) -> Option<Vec<u8>> {
    elf_for(std::env::consts::ARCH, word)
}

pub(super) fn elf_for(arch: &str, word: &str) -> Option<Vec<u8>> {
    let length = u8::try_from(word.len().min(MAX_WORD)).ok()?;
    let (machine, code): (u16, Vec<u8>) = match arch {
        "x86_64" => (62, x86_64(length)),
        "aarch64" => (183, aarch64(length)),
        _ => return None,
    };
    let size = HEAD + u64::try_from(code.len()).ok()? + u64::from(length);
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
    put(&code);
    put(word.as_bytes().get(..usize::from(length))?);
    Some(file)
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
