//! Writing records: whole or not at all, by rename. No fsync: they survive a kill, and a reboot ends the
//! containers anyway.

use std::path::Path;

use berth_sys::fs::{Durability, write_atomic};
use berth_types::shim::record;

/// Writes one record into the container's directory. That must be there: a daemon that has removed it
/// wants no more records.
pub(crate) fn write<T: serde::Serialize>(dir: &Path, name: &str, record: &T) -> std::io::Result<()> {
    let bytes = record::encode(record).map_err(std::io::Error::other)?;
    write_atomic(&dir.join(name), &bytes, Durability::Process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_types::shim::record::{EXIT, PID, Started};

    #[test]
    fn a_record_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("containers").join("id");
        assert!(write(&dir, EXIT, &5).is_err());
        std::fs::create_dir_all(&dir).unwrap();
        for pid in [5, 6] {
            write(&dir, PID, &Started { pid, shim: 1 }).unwrap();
            let bytes = std::fs::read(dir.join(PID)).unwrap();
            assert_eq!(record::decode::<Started>(&bytes).unwrap().pid, pid);
        }
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    }
}
