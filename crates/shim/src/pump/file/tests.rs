use super::*;

/// A disk with room for so many bytes.
#[derive(Debug, Default)]
struct Disk {
    text: Vec<u8>,
    room: usize,
    cannot_take_back: bool,
}

impl Target for Disk {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let fits = bytes.len().min(self.room);
        if fits == 0 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.room -= fits;
        self.text.extend_from_slice(&bytes[..fits]);
        Ok(fits)
    }

    fn take_back(&mut self, bytes: u64) -> std::io::Result<()> {
        if self.cannot_take_back {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        let bytes = usize::try_from(bytes).unwrap();
        self.text.truncate(self.text.len() - bytes);
        self.room += bytes;
        Ok(())
    }
}

/// Writes as the pump does: the notice first.
fn write(log: &mut Log<Disk>, entries: &str) -> bool {
    let notice = log.missing().map(|m| format!("[{} {}]\n", m.entries, m.bytes)).unwrap_or_default();
    log.write(notice.as_bytes(), entries.as_bytes())
}

fn text(log: &Log<Disk>) -> String {
    String::from_utf8(log.target.as_ref().unwrap().text.clone()).unwrap()
}

fn room(log: &mut Log<Disk>, room: usize) {
    log.target.as_mut().unwrap().room = room;
}

#[test]
fn what_does_not_fit_is_counted_and_said_when_it_fits_again() {
    let mut log = Log::new(Some(Disk { room: 5, ..Disk::default() }));
    assert!(write(&mut log, "aaa\n"));
    assert!(!write(&mut log, "bbb\nccc\n"));
    assert!(!write(&mut log, "ddd\n"));
    assert_eq!(text(&log), "aaa\n", "no entry in part");
    room(&mut log, 100);
    assert!(write(&mut log, "eee\n"));
    assert_eq!(text(&log), "aaa\n[3 12]\neee\n");
    assert!(write(&mut log, "fff\n"));
    assert_eq!(text(&log), "aaa\n[3 12]\neee\nfff\n");
}

#[test]
fn a_notice_that_was_written_is_not_said_again() {
    let mut log = Log::new(Some(Disk::default()));
    assert!(!write(&mut log, "bbb\n"));
    room(&mut log, 8);
    assert!(!write(&mut log, "ccc\n"));
    assert_eq!(text(&log), "[1 4]\n");
    room(&mut log, 100);
    assert!(write(&mut log, "ddd\n"));
    assert_eq!(text(&log), "[1 4]\n[1 4]\nddd\n");
}

#[test]
fn a_torn_entry_that_cannot_be_taken_back_does_not_spoil_the_next() {
    let mut log = Log::new(Some(Disk { room: 2, cannot_take_back: true, ..Disk::default() }));
    assert!(!write(&mut log, "aaa\n"));
    room(&mut log, 100);
    assert!(write(&mut log, "bbb\n"));
    assert_eq!(text(&log), "aa\n[1 4]\nbbb\n");
}

#[test]
fn writing_without_a_notice_forgets_nothing() {
    let mut log = Log::new(Some(Disk::default()));
    assert!(!log.write(b"", b"aaa\n"));
    assert!(!log.write(b"", b"bbb\n"));
    room(&mut log, 100);
    assert!(log.write(b"", b"ccc\n"));
    assert_eq!(log.missing().map(|m| (m.entries, m.bytes)), Some((2, 8)));
}

#[test]
fn without_a_file_everything_is_taken() {
    let mut log: Log<Disk> = Log::new(None);
    assert!(log.write(b"", b"a\n"));
    assert!(log.missing().is_none());
}

#[test]
fn only_regular_files_are_opened_and_the_mode_is_narrow() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    let mut file = open(&path).unwrap();
    file.append(b"a\nbb").unwrap();
    file.take_back(2).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"a\n");
    open(&path).unwrap().append(b"c\n").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"a\nc\n");
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    assert_eq!(mode & 0o7137, 0, "{mode:o}");

    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(open(&link).is_err());
    assert!(open(Path::new("/dev/null")).is_err());
    assert!(open(dir.path()).is_err());
    assert!(open(&dir.path().join("no/such.log")).is_err());
}
