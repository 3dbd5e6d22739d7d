use berth_types::{ContainerId, Digest};

use super::*;

fn record() -> SnapshotRecord {
    SnapshotRecord {
        container: ContainerId::from_random([1; 32]),
        image: Digest::from_sha256([2; 32]),
        volumes: Vec::new(),
        project: 0,
        layers: Vec::new(),
    }
}

/// Every cell: what was written, or may have been, is never called unfinished.
#[test]
fn only_what_no_overlay_was_mounted_over_is_unfinished() {
    use Content::{Absent, Empty, Filled};
    let all = [Absent, Empty, Filled];
    for (upper, work) in all.into_iter().flat_map(|upper| all.map(|work| (upper, work))) {
        let failed = StoreError::Damaged { path: "record".into(), reason: "zeros".into() };
        for (name, reading) in [
            ("good", Reading::Good(record())),
            ("absent", Reading::Absent),
            ("failed", Reading::Failed(failed)),
        ] {
            let verdict = verdict(Path::new("dir"), reading, upper, work);
            let found = match verdict {
                Verdict::Known(_) => "known",
                Verdict::Unreadable(_) => "kept",
                Verdict::Unfinished => "unfinished",
            };
            let wanted = match (name, upper, work) {
                ("failed", _, _) => "kept",
                ("good", Empty | Filled, Empty | Filled) => "known",
                (_, Filled, _) | (_, _, Filled) => "kept",
                _ => "unfinished",
            };
            assert_eq!(found, wanted, "{name} {upper:?} {work:?}");
        }
    }
}

#[test]
fn a_directory_with_content_survives_being_taken_for_unfinished() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("a");
    for name in ["upper", "work"] {
        let kept = snapshot.join(name).join("kept");
        std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
        std::fs::write(&kept, "x").unwrap();
        assert!(remove(&snapshot).is_err());
        assert_eq!(std::fs::read(&kept).unwrap(), b"x");
        std::fs::remove_file(&kept).unwrap();
    }
    std::fs::write(snapshot.join("record"), "x").unwrap();
    std::fs::write(snapshot.join("record.7.tmp"), "x").unwrap();
    remove(&snapshot).unwrap();
    assert!(!snapshot.exists());
}
