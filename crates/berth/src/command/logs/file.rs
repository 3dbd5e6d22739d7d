//! The files of a log: the one that is written, and those that were moved aside before it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Printer;

/// Logs of local pods that were moved aside are `PATH.1`, the newest, to `PATH.4`.
const ASIDE: usize = 4;

/// A log that may be rotated while it is read.
pub(super) struct Log {
    path: PathBuf,
    reader: BufReader<File>,
    inode: u64,
    /// What was moved aside before the log was opened, oldest first.
    older: VecDeque<BufReader<File>>,
    /// A line that is not complete yet.
    partial: Vec<u8>,
}

fn open(path: &Path) -> std::io::Result<(File, u64)> {
    let file = File::open(path)?;
    let inode = file.metadata()?.ino();
    Ok((file, inode))
}

impl Log {
    /// The whole log.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let (file, inode) = open(path).with_context(|| format!("open the log {}", path.display()))?;
        let mut older = VecDeque::new();
        let mut newest = inode;
        for age in 1..=ASIDE {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{age}"));
            let Ok((file, inode)) = open(Path::new(&name)) else { break };
            // It was moved again since, and is open already.
            if inode != newest {
                older.push_front(BufReader::new(file));
            }
            newest = inode;
        }
        Ok(Self { path: path.to_owned(), reader: BufReader::new(file), inode, older, partial: Vec::new() })
    }

    /// Prints what is there, here and in the files that came after.
    pub(super) fn print(&mut self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<()> {
        while let Some(mut older) = self.older.pop_front() {
            drain(&mut older, &mut self.partial, printer)?;
        }
        drain(&mut self.reader, &mut self.partial, printer)?;
        let replaced = std::fs::metadata(&self.path).is_ok_and(|now| now.ino() != self.inode);
        if replaced {
            // Between the two looks something may have come to the old one.
            drain(&mut self.reader, &mut self.partial, printer)?;
            let (file, inode) =
                open(&self.path).with_context(|| format!("open the log {}", self.path.display()))?;
            (self.reader, self.inode) = (BufReader::new(file), inode);
            drain(&mut self.reader, &mut self.partial, printer)?;
        }
        Ok(())
    }

    /// Goes to where the last `lines` lines begin.
    pub(super) fn skip_to_last(&mut self, lines: usize) -> anyhow::Result<()> {
        let mut left = lines - seek_to_last(&mut self.reader, lines)?;
        let mut kept = VecDeque::new();
        while let Some(mut file) = self.older.pop_back().filter(|_| left > 0) {
            left -= seek_to_last(&mut file, left)?;
            kept.push_front(file);
        }
        self.older = kept;
        Ok(())
    }
}

fn drain(
    from: &mut BufReader<File>,
    partial: &mut Vec<u8>,
    printer: &mut Printer<impl Write, impl Write>,
) -> anyhow::Result<()> {
    loop {
        let read = from.read_until(b'\n', partial).context("read the log")?;
        if read == 0 {
            return printer.flush();
        }
        if partial.ends_with(b"\n") {
            printer.line(partial)?;
            partial.clear();
        }
    }
}

/// Goes to where the last `lines` lines of a file begin; how many there are, `lines` at most.
fn seek_to_last(reader: &mut BufReader<File>, lines: usize) -> anyhow::Result<usize> {
    const BLOCK: u64 = 64 << 10;
    let file = reader.get_mut();
    let mut at = file.seek(SeekFrom::End(0)).context("read the log")?;
    // The newline that ends the line before is the one more.
    let (mut start, mut ends) = (if lines == 0 { at } else { 0 }, 0);
    'back: while at > 0 && lines > 0 {
        let from = at.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(at - from).unwrap_or(0)];
        file.seek(SeekFrom::Start(from)).context("read the log")?;
        file.read_exact(&mut block).context("read the log")?;
        for (offset, byte) in block.iter().enumerate().rev() {
            if *byte == b'\n' {
                if ends == lines {
                    start = from + offset as u64 + 1;
                    break 'back;
                }
                ends += 1;
            }
        }
        at = from;
    }
    reader.seek(SeekFrom::Start(start)).context("read the log")?;
    Ok(ends)
}
