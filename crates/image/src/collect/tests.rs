//! The rule, over every set of images that is small enough to be tried.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::store::record::sum;

const POLICY: Policy = Policy { high: 85, low: 80, minimum_age: Duration::from_secs(120) };

fn layer(name: &str) -> LayerId {
    LayerId::Diff(sum(name.as_bytes()))
}

fn image(name: &str, used: u64, layers: &[(&str, u64)]) -> Candidate {
    Candidate {
        id: sum(name.as_bytes()),
        used: (used, 0),
        age: Duration::from_secs(1000),
        kept: false,
        layers: layers.iter().map(|(name, bytes)| (layer(name), *bytes)).collect(),
    }
}

fn names(plan: &Plan, all: &[&str]) -> Vec<String> {
    let name = |id: &Digest| all.iter().find(|name| sum(name.as_bytes()) == *id).unwrap().to_string();
    plan.go.iter().map(name).collect()
}

#[test]
fn the_disk_is_full_as_the_kubelet_reckons() {
    let disk = |capacity, available| Disk { capacity, available };
    for (of, percent, excess) in [
        (disk(100, 100), 0, 0),
        (disk(100, 16), 84, 0),
        // At the threshold, and 15.9 % free are 15 in whole percent: 85 in use.
        (disk(100, 15), 85, 5),
        (disk(1000, 159), 85, 41),
        (disk(1000, 160), 84, 0),
        (disk(100, 0), 100, 20),
        (disk(0, 0), 100, 0),
        // More available than there is, of a file system that tells wrong.
        (disk(100, 200), 0, 0),
        (disk(u64::MAX, 0), 100, u64::MAX / 5),
    ] {
        assert_eq!((of.used_percent(), of.excess(&POLICY)), (percent, excess), "{of:?}");
    }
    // Full to the last byte, the low threshold is all that is wanted.
    assert_eq!(disk(100, 0).excess(&Policy { high: 100, low: 0, ..POLICY }), 100);
}

#[test]
fn the_least_recently_used_go_until_it_is_enough() {
    let all = ["a", "b", "c"];
    let images = [image("a", 3, &[("1", 10)]), image("b", 1, &[("2", 10)]), image("c", 2, &[("3", 10)])];
    let go = |excess| names(&plan(&images, &HashSet::new(), POLICY.minimum_age, excess), &all);
    assert_eq!(go(0), [""; 0]);
    assert_eq!(go(1), ["b"]);
    assert_eq!(go(10), ["b"]);
    assert_eq!(go(11), ["b", "c"]);
    assert_eq!(go(1000), ["b", "c", "a"]);
    // What no use is known of goes first, the oldest before the others.
    let mut images = images;
    images[0].used = (0, 7);
    images[2].used = (0, 5);
    let plan = plan(&images, &HashSet::new(), POLICY.minimum_age, 1000);
    assert_eq!(names(&plan, &all), ["c", "a", "b"]);
}

#[test]
fn what_is_young_or_kept_stays() {
    let mut images = [image("a", 1, &[("1", 10)]), image("b", 2, &[("2", 10)])];
    images[0].age = Duration::from_secs(119);
    let plan_of = |images: &[Candidate]| plan(images, &HashSet::new(), POLICY.minimum_age, 1000);
    assert_eq!(names(&plan_of(&images), &["a", "b"]), ["b"]);
    images[0].age = Duration::from_secs(120);
    images[1].kept = true;
    assert_eq!(names(&plan_of(&images), &["a", "b"]), ["a"]);
}

#[test]
fn shared_layers_are_free_with_their_last_image() {
    let images = [
        image("a", 1, &[("base", 100), ("1", 1)]),
        image("b", 2, &[("base", 100), ("2", 2), ("2", 2)]),
        image("c", 3, &[("held", 50)]),
    ];
    let held = HashSet::from([layer("held")]);
    let plan_of = |excess| plan(&images, &held, POLICY.minimum_age, excess);
    assert_eq!((names(&plan_of(1), &["a", "b", "c"]), plan_of(1).frees), (vec!["a".to_owned()], 1));
    assert_eq!(plan_of(2).frees, 103);
    assert_eq!((plan_of(1000).go.len(), plan_of(1000).frees), (3, 103));
}

/// All sets of four images of three layers with every order, age and use: nothing goes that must stay, what goes is the least
/// recently used of what may, no more of it than is needed, and the bytes are those that the layers of what is left prove.
#[test]
fn over_all_small_stores_nothing_goes_that_must_stay_and_nothing_without_need() {
    let stacks: [&[(&str, u64)]; 4] = [&[("x", 4)], &[("x", 4), ("y", 2)], &[("y", 2), ("z", 1)], &[]];
    let mut seen = 0_u32;
    // Of each image: its layers (4), its use (2), and whether it is free, kept or young (3).
    for code in 0..24_u32.pow(3) {
        let images: Vec<Candidate> = (0..3)
            .map(|at| {
                let of = (code / 24_u32.pow(at)) % 24;
                let mut one = image(&format!("{at}"), u64::from(of / 4 % 2), stacks[of as usize % 4]);
                one.kept = of / 8 == 1;
                one.age = if of / 8 == 2 { Duration::from_secs(1) } else { POLICY.minimum_age };
                one
            })
            .collect();
        for (held, excess) in [("none", 1), ("x", 3), ("none", 5), ("z", 100)] {
            let held = HashSet::from([layer(held)]);
            let made = plan(&images, &held, POLICY.minimum_age, excess);
            let may = |one: &Candidate| !one.kept && one.age >= POLICY.minimum_age;
            let find = |id: &Digest| images.iter().find(|one| one.id == *id).unwrap();
            let left = |gone: &[Digest]| -> u64 {
                let of = images.iter().filter(|one| !gone.contains(&one.id));
                let there: BTreeMap<_, _> = of.flat_map(|one| one.layers.clone()).collect();
                let all: BTreeMap<_, _> = images.iter().flat_map(|one| one.layers.clone()).collect();
                all.iter().filter(|(id, _)| there.contains_key(id) || held.contains(id)).map(|(_, b)| b).sum()
            };
            assert!(made.go.iter().all(|id| may(find(id))), "{images:?}");
            let latest = made.go.iter().map(|id| find(id).used).max();
            let stays = images.iter().filter(|one| may(one) && !made.go.contains(&one.id));
            assert!(stays.map(|one| Some(one.used)).all(|used| used >= latest), "{images:?}");
            assert_eq!(made.frees, left(&[]) - left(&made.go), "{images:?}");
            let enough = made.frees >= excess;
            assert!(enough || made.go.len() == images.iter().filter(|one| may(one)).count(), "{images:?}");
            if let [before @ .., _] = &made.go[..] {
                assert!(left(&[]) - left(before) < excess, "one less is enough: {images:?}");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 4 * 13_824);
}
