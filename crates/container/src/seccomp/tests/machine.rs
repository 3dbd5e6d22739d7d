//! An interpreter of filters, and the kernel's checks on them.

use super::super::Insn;

/// What a filter sees of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) audit: u32,
    pub(super) number: u32,
    pub(super) args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            8 | 12 => 0,
            _ => {
                let arg = self.args[usize::try_from((offset - 16) / 8).unwrap()];
                u32::try_from(if offset.is_multiple_of(8) { arg & 0xffff_ffff } else { arg >> 32 }).unwrap()
            }
        }
    }
}

/// The result of the filter for a call, and how many instructions it took.
pub(super) fn run(program: &[Insn], call: &Call) -> (u32, usize) {
    let (mut a, mut x, mut at, mut steps) = (0u32, 0u32, 0usize, 0usize);
    let mut memory = [0u32; 16];
    loop {
        let Insn { code, jt, jf, k } = program[at];
        at += 1;
        steps += 1;
        let branch = |yes: bool| usize::from(if yes { jt } else { jf });
        match code {
            0x20 => a = call.word(k),
            0x54 => a &= k,
            0x05 => at += usize::try_from(k).unwrap(),
            0x15 => at += branch(a == k),
            0x25 => at += branch(a > k),
            0x35 => at += branch(a >= k),
            0x45 => at += branch(a & k != 0),
            0x06 => return (k, steps),
            // Those below only libseccomp uses.
            0x02 => memory[usize::try_from(k).unwrap()] = a,
            0x60 => a = memory[usize::try_from(k).unwrap()],
            0x07 => x = a,
            0x87 => a = x,
            other => panic!("no such instruction: {other:#x}"),
        }
    }
}

/// What the kernel checks when it loads a filter.
pub(super) fn check(program: &[Insn]) {
    assert!(!program.is_empty() && program.len() <= 4096);
    for (at, insn) in program.iter().enumerate() {
        let reach = match insn.code {
            0x20 => {
                assert!(insn.k.is_multiple_of(4) && insn.k < 64);
                1
            }
            0x54 => 1,
            0x05 => 1 + usize::try_from(insn.k).unwrap(),
            0x15 | 0x25 | 0x35 => 1 + usize::from(insn.jt.max(insn.jf)),
            0x06 => 0,
            other => panic!("no such instruction: {other:#x}"),
        };
        assert!(at + reach < program.len(), "instruction {at} leaves the program");
    }
}
