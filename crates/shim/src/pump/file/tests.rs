use super::*;

/// A disk with space for so many bytes.
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
    let mut file = Place::of(&path).and_then(|place| place.open()).unwrap();
    file.append(b"a\nbb").unwrap();
    file.take_back(2).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"a\n");
    Place::of(&path).and_then(|place| place.open()).unwrap().append(b"c\n").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"a\nc\n");
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    assert_eq!(mode & 0o7137, 0, "{mode:o}");

    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(Place::of(&link).and_then(|place| place.open()).is_err());
    assert!(Place::of(Path::new("/dev/null")).and_then(|place| place.open()).is_err());
    assert!(Place::of(dir.path()).and_then(|place| place.open()).is_err());
    assert!(Place::of(&dir.path().join("no/such.log")).and_then(|place| place.open()).is_err());
}

#[test]
fn a_rotation_goes_on_where_the_log_was() {
    let top = tempfile::tempdir().unwrap();
    let (pods, linked, aside, outside) = (
        top.path().join("pods"),
        top.path().join("link"),
        top.path().join("aside"),
        top.path().join("outside"),
    );
    for dir in [&pods, &outside] {
        std::fs::create_dir_all(dir.join("c")).unwrap();
    }
    // The host's own links are followed when the container is made.
    std::os::unix::fs::symlink(&pods, &linked).unwrap();
    let place = Place::of(&linked.join("c/0.log")).unwrap();
    place.open().unwrap().append(b"first").unwrap();
    // The kubelet moves the file aside in its directory; the container puts a link in the directory's place.
    std::fs::rename(pods.join("c/0.log"), pods.join("c/0.log.1")).unwrap();
    std::fs::rename(pods.join("c"), &aside).unwrap();
    std::os::unix::fs::symlink(outside.join("c"), pods.join("c")).unwrap();
    place.open().unwrap().append(b"second").unwrap();
    assert_eq!(std::fs::read(aside.join("0.log")).unwrap(), b"second");
    assert_eq!(std::fs::read_dir(outside.join("c")).unwrap().count(), 0, "nothing outside");
    assert!(Place::of(std::path::Path::new("/")).is_err());
}
