//! Writing a classic BPF program from its end to its beginning.
//!
//! All jumps of a filter go forward. Written backwards, every target is known when its jump is, and
//! so is whether it is near enough: a conditional jump reaches 255 instructions, beyond that it goes
//! over an instruction beside it.

use std::collections::HashMap;

/// One instruction (`struct sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    /// Opcode.
    pub code: u16,
    /// Instructions to skip when true.
    pub jt: u8,
    /// Instructions to skip when false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Opcodes that filters use.
pub(super) mod op {
    pub(in crate::seccomp) const LOAD: u16 = 0x20;
    pub(in crate::seccomp) const AND: u16 = 0x54;
    pub(in crate::seccomp) const JUMP: u16 = 0x05;
    pub(in crate::seccomp) const JUMP_EQ: u16 = 0x15;
    pub(in crate::seccomp) const JUMP_GT: u16 = 0x25;
    pub(in crate::seccomp) const JUMP_GE: u16 = 0x35;
    pub(in crate::seccomp) const RETURN: u16 = 0x06;
}

impl Insn {
    /// As the kernel reads it from memory.
    pub fn encode(self) -> u64 {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&self.code.to_ne_bytes());
        bytes[2] = self.jt;
        bytes[3] = self.jf;
        bytes[4..].copy_from_slice(&self.k.to_ne_bytes());
        u64::from_ne_bytes(bytes)
    }
}

/// Where a jump goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goto {
    /// To an instruction that was written.
    At(Label),
    /// To the end of the program with this result.
    Return(u32),
}

/// An instruction that was written: how many there are from it to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// The part of a program that was written, last instruction first.
#[derive(Debug, Default)]
pub(super) struct Backwards {
    written: Vec<Insn>,
    /// The latest return of each result.
    returns: HashMap<u32, Label>,
    /// The latest jump to a label that was too far away.
    near: HashMap<usize, Label>,
}

impl Backwards {
    /// Writes what runs before everything that was written last.
    pub(super) fn push(&mut self, code: u16, k: u32) -> Label {
        self.written.push(Insn { code, jt: 0, jf: 0, k });
        Label(self.written.len())
    }

    /// A conditional jump.
    pub(super) fn branch(&mut self, code: u16, k: u32, yes: Goto, no: Goto) -> Label {
        // Twice at most for each: what brings one near may push the other out of reach.
        loop {
            match (self.reach(yes), self.reach(no)) {
                (Some(jt), Some(jf)) => {
                    self.written.push(Insn { code, jt, jf, k });
                    return Label(self.written.len());
                }
                (None, _) => self.bring_near(yes),
                (_, None) => self.bring_near(no),
            }
        }
    }

    fn bring_near(&mut self, to: Goto) {
        match to {
            Goto::Return(result) => {
                let label = self.push(op::RETURN, result);
                self.returns.insert(result, label);
            }
            Goto::At(label) => {
                let jump = self.push(op::JUMP, self.distance(label));
                self.near.insert(label.0, jump);
            }
        }
    }

    fn distance(&self, label: Label) -> u32 {
        u32::try_from(self.written.len() - label.0).expect("programs are short")
    }

    /// How many instructions a conditional jump written next skips to get there.
    fn reach(&self, to: Goto) -> Option<u8> {
        let skip = |label: Label| u8::try_from(self.written.len() - label.0).ok();
        match to {
            Goto::At(label) => skip(label).or_else(|| skip(*self.near.get(&label.0)?)),
            Goto::Return(result) => skip(*self.returns.get(&result)?),
        }
    }

    /// The program, first instruction first.
    pub(super) fn finish(mut self) -> Vec<Insn> {
        self.written.reverse();
        self.written
    }
}
