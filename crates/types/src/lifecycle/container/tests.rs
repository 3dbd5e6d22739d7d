use super::*;
use crate::lifecycle::table;
use crate::lifecycle::tests::{Numbers, compare};

pub(crate) mod random;

const NAMES: &[(&str, &str)] = &[
    ("Cg", "Creating"),
    ("CgE", "Creating, ended"),
    ("Cd", "Created"),
    ("St", "Starting"),
    ("StE", "Starting, ended"),
    ("StO", "Starting, overdue"),
    ("Ru", "Running"),
    ("Un", "Unknown"),
    ("UnS", "Unknown, started"),
    ("xCd", "Stopping (Created), then Exited"),
    ("xSt", "Stopping (Starting), then Exited"),
    ("xStE", "Stopping (Starting, ended), then Exited"),
    ("xStO", "Stopping (Starting, overdue), then Exited"),
    ("xRu", "Stopping (Running), then Exited"),
    ("xUn", "Stopping (Unknown), then Exited"),
    ("xUnS", "Stopping (Unknown, started), then Exited"),
    ("rCd", "Stopping (Created), then Removing"),
    ("rSt", "Stopping (Starting), then Removing"),
    ("rStE", "Stopping (Starting, ended), then Removing"),
    ("rStO", "Stopping (Starting, overdue), then Removing"),
    ("rRu", "Stopping (Running), then Removing"),
    ("rUn", "Stopping (Unknown), then Removing"),
    ("rUnS", "Stopping (Unknown, started), then Removing"),
    ("Ex", "Exited"),
    ("Rm", "Removing"),
    ("Go", "Gone"),
];

const CODES: &[(&str, &str)] = &[
    ("B", "begin the start"),
    ("K", "end it by the shim"),
    ("k", "kill its cgroup"),
    ("H", "end it earlier"),
    ("E", "tell the end"),
    ("R", "begin the removal"),
    ("c", "create"),
    ("s", "start"),
    ("p", "stop"),
    ("r", "remove"),
    ("x", "caller"),
];

/// What is asked for: Join, Start, Stop, Remove.
/// What work reports: Prepared, NotPrepared, Started, NotStarted, StartOverdue, NotStopped, Removed, NotRemoved.
/// What the shim says: Exited, Exited (started), Found created, Found running, ShimDied.
const SETTLED: &str = "
Cg   | =:w  =:x! =:x!     =:x!     | Cd:c+   Go:c- .          .               .               .         .     .     | CgE           CgE             .   .               .
CgE  | =:w  =:x! =:x!     =:x!     | Ex:E,c+ Go:c- .          .               .               .         .     .     | .             .               .   .               .
Cd   | =:x+ St:B,w xCd:K,w rCd:K,w | .       .     Ru         Ex:E            .               .         .     .     | Ex:E          Ex:E            .   Ru              Un
St   | =:x+ =:w  xSt:K,w  rSt:K,w  | .       .     Ru:s+      Ex:E,s-         StO:s-          .         .     .     | StE           Ex:E,s+         .   Ru:s+           Un:s-
StE  | =:x+ =:w  xStE:K,w rStE:K,w | .       .     Ex:E,s+    Ex:E,s-         Ex:E,s-         .         .     .     | .             Ex:E,s+         .   Ex:E,s+         Ex:E,s-
StO  | =:x+ St:B,w xStO:K,w rStO:K,w | .     .     Ru         Ex:E            .               .         .     .     | Ex:E          Ex:E            Cd  Ru              Un
Ru   | =:x+ =:x! xRu:K,w  rRu:K,w  | .       .     .          .               .               .         .     .     | Ex:E          Ex:E            .   .               UnS
Un   | =:x+ =:x! xUn:k,w  rUn:k,w  | .       .     Ru         Ex:E            .               .         .     .     | Ex:E          Ex:E            Cd  Ru              .
UnS  | =:x+ =:x! xUnS:k,w rUnS:k,w | .       .     Ru         .               .               .         .     .     | Ex:E          Ex:E            Cd  Ru              .
xCd  | =:x+ =:x! =:H,w    rCd:H,w  | .       .     xRu        Ex:E,p+         .               Cd:p-     .     .     | Ex:E,p+       Ex:E,p+         .   xRu             xUn
xSt  | =:x+ =:x! =:H,w    rSt:H,w  | .       .     xRu:s+     Ex:E,s-,p+      xStO:s-         St:p-     .     .     | xStE          Ex:E,s+,p+      .   xRu:s+          xUn:s-
xStE | =:x+ =:x! =:H,w    rStE:H,w | .       .     Ex:E,s+,p+ Ex:E,s-,p+      Ex:E,s-,p+      StE:p-    .     .     | .             Ex:E,s+,p+      .   Ex:E,s+,p+      Ex:E,s-,p+
xStO | =:x+ =:x! =:H,w    rStO:H,w | .       .     xRu        Ex:E,p+         .               StO:p-    .     .     | Ex:E,p+       Ex:E,p+         xCd xRu             xUn
xRu  | =:x+ =:x! =:H,w    rRu:H,w  | .       .     .          .               .               Ru:p-     .     .     | Ex:E,p+       Ex:E,p+         .   .               xUnS
xUn  | =:x+ =:x! =:H,w    rUn:H,w  | .       .     xRu        Ex:E,p+         .               Un:p-     .     .     | Ex:E,p+       Ex:E,p+         xCd xRu             .
xUnS | =:x+ =:x! =:H,w    rUnS:H,w | .       .     xRu        .               .               UnS:p-    .     .     | Ex:E,p+       Ex:E,p+         xCd xRu             .
rCd  | =:x! =:x! =:H,w    =:H,w    | .       .     rRu        Rm:E,R,p+       .               Cd:p-,r-  .     .     | Rm:E,R,p+     Rm:E,R,p+       .   rRu             rUn
rSt  | =:x! =:x! =:H,w    =:H,w    | .       .     rRu:s+     Rm:E,R,s-,p+    rStO:s-         St:p-,r-  .     .     | rStE          Rm:E,R,s+,p+    .   rRu:s+          rUn:s-
rStE | =:x! =:x! =:H,w    =:H,w    | .       .     Rm:E,R,s+,p+ Rm:E,R,s-,p+  Rm:E,R,s-,p+    StE:p-,r- .     .     | .             Rm:E,R,s+,p+    .   Rm:E,R,s+,p+    Rm:E,R,s-,p+
rStO | =:x! =:x! =:H,w    =:H,w    | .       .     rRu        Rm:E,R,p+       .               StO:p-,r- .     .     | Rm:E,R,p+     Rm:E,R,p+       rCd rRu             rUn
rRu  | =:x! =:x! =:H,w    =:H,w    | .       .     .          .               .               Ru:p-,r-  .     .     | Rm:E,R,p+     Rm:E,R,p+       .   .               rUnS
rUn  | =:x! =:x! =:H,w    =:H,w    | .       .     rRu        Rm:E,R,p+       .               Un:p-,r-  .     .     | Rm:E,R,p+     Rm:E,R,p+       rCd rRu             .
rUnS | =:x! =:x! =:H,w    =:H,w    | .       .     rRu        .               .               UnS:p-,r- .     .     | Rm:E,R,p+     Rm:E,R,p+       rCd rRu             .
Ex   | =:x+ =:x! =:x+     Rm:R,w   | .       .     .          .               .               .         .     .     | .             .               .   .               .
Rm   | =:x! =:x! =:x+     =:w      | .       .     .          .               .               .         Go:r+ Ex:r- | .             .               .   .               .
Go   | =:x! =:x! =:x+     =:x+     | .       .     .          .               .               .         .     .     | .             .               .   .               .
";

#[test]
fn every_cell_is_as_settled() {
    compare(&table::container(), SETTLED, NAMES, CODES);
}

#[test]
fn every_state_is_in_the_table() {
    let table = table::container();
    for state in State::ALL {
        let name = format!("{state:?}").replace("{ then: ", "(then ").replace(" }", ")");
        assert!(table.rows.iter().any(|row| row.state == name), "{name}");
    }
}

type C = Container<Numbers>;
type M = Message<Numbers>;

fn created() -> C {
    let mut container = C::creating(1);
    container.next(M::Prepared("facts", Outcome::Done));
    container
}

fn running() -> C {
    let mut container = created();
    container.next(M::Start(2));
    container.next(M::Started(7));
    container
}

#[test]
fn a_refusal_reads_as_a_sentence() {
    let effects = running().next(M::Start(3));
    let [Effect::Answer(3, Outcome::Refused(refused))] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(refused.to_string(), "cannot start a container that is running");
}

#[test]
fn only_a_command_that_runs_is_given_time_to_end() {
    let grace = Duration::from_secs(9);
    let stop = |mut container: C| container.next(M::Stop(grace, 3));
    assert!(matches!(stop(created())[..], [Effect::Stop(Duration::ZERO, Ask::Shim)]));
    assert!(matches!(stop(running())[..], [Effect::Stop(given, Ask::Shim)] if given == grace));
    let mut container = running();
    assert!(matches!(container.next(M::Remove(3))[..], [Effect::Stop(Duration::ZERO, Ask::Shim)]));
    let mut container = running();
    container.next(M::Stop(grace, 3));
    let sooner = Duration::from_secs(1);
    assert!(matches!(container.next(M::Stop(sooner, 4))[..], [Effect::Hurry(given)] if given == sooner));
    assert!(matches!(container.next(M::Remove(5))[..], [Effect::Hurry(Duration::ZERO)]));
}

#[test]
fn a_container_that_is_prepared_for_a_stopped_pod_is_made_and_its_creator_refused() {
    let mut container = C::creating(1);
    container.next(M::Join(2));
    let refused = Refused { thing: "pod sandbox", event: "create a container in", state: "stopping" };
    let effects = container.next(M::Prepared("facts", Outcome::Refused(refused)));
    let answers: Vec<_> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Answer(who, Outcome::Refused(told)) if *told == refused => *who,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(answers, [1, 2]);
    assert_eq!(container.state(), State::Created);
}

#[test]
fn the_first_reported_end_counts() {
    let mut container = created();
    container.next(M::Start(2));
    container.next(M::Exited(None, 3));
    container.next(M::Exited(None, 4));
    container.next(M::NotStarted("no such file", 5));
    assert_eq!((container.exit(), container.started_at()), (Some(&3), None));
}

#[test]
fn the_time_of_the_start_is_kept() {
    let mut container = running();
    container.next(M::ShimDied("dead"));
    assert_eq!((container.state(), container.started_at()), (State::Unknown, Some(7)));
    container.next(M::Stop(Duration::ZERO, 3));
    assert_eq!(container.started_at(), Some(7));
    container.next(M::Exited(None, 137));
    assert_eq!((container.state(), container.started_at()), (State::Exited, Some(7)));

    let mut recovered = C::recovered("facts");
    recovered.next(M::Exited(Some(5), 0));
    assert_eq!(recovered.started_at(), Some(5));
}

#[test]
fn what_is_being_stopped_is_listed_as_what_it_was() {
    let stopped = |mut container: C| {
        let before = container.seen().listed();
        container.next(M::Stop(Duration::ZERO, 9));
        assert!(matches!(container.state(), State::Stopping { .. }));
        assert_eq!(container.seen().listed(), before);
        before
    };
    let mut starting = created();
    starting.next(M::Start(2));
    let mut overdue = created();
    overdue.next(M::Start(2));
    overdue.next(M::StartOverdue("late"));
    assert_eq!(stopped(created()), Some(Listed::Created));
    assert_eq!(stopped(starting), Some(Listed::Created));
    assert_eq!(stopped(overdue), Some(Listed::Created));
    assert_eq!(stopped(running()), Some(Listed::Running));
    assert_eq!(stopped(C::recovered("facts")), Some(Listed::Unknown));
}
