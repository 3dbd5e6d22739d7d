use super::*;

/// Runs a device program on (access and kind, major, minor).
pub(crate) fn interpret(code: &[Insn], context: [i32; 3]) -> i32 {
    let mut registers = [0i32; 6];
    let mut at = 0;
    loop {
        let insn = code[at];
        let (to, from) = (usize::from(insn.registers & 15), usize::from(insn.registers >> 4));
        at += 1;
        let jump = match insn.code {
            0x61 => {
                registers[to] = context[usize::try_from(insn.offset / 4).unwrap()];
                false
            }
            0xbf => {
                registers[to] = registers[from];
                false
            }
            0xb7 => {
                registers[to] = insn.immediate;
                false
            }
            0x54 => {
                registers[to] &= insn.immediate;
                false
            }
            0x74 => {
                registers[to] = (registers[to].cast_unsigned() >> insn.immediate).cast_signed();
                false
            }
            0x16 => registers[to] == insn.immediate,
            0x56 => registers[to] != insn.immediate,
            0x5e => registers[to] != registers[from],
            0x95 => return registers[0],
            other => panic!("no such instruction: {other:#x}"),
        };
        if jump {
            at += usize::try_from(insn.offset).unwrap();
        }
    }
}

#[test]
fn instructions_are_laid_out_as_the_kernel_reads_them() {
    assert_eq!(size_of::<Insn>(), 8);
    let insn = load_word(Reg::R2, Reg::R1, 4);
    assert_eq!((insn.code, insn.registers, insn.offset, insn.immediate), (0x61, 0x12, 4, 0));
    assert_eq!(interpret(&[set(Reg::R0, 7), exit()], [0; 3]), 7);
}
