//! What is found, checked and told, with a check that the test answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use berth_testkit::executable;
use berth_types::{Classify as _, Kind as ErrorKind};
use oci_spec::runtime::Process;

use super::super::features::Features;
use super::super::{Places, Prepared, Preparing, Program};
use super::*;
use crate::model::{ContainerSecurity, EnvVar, UserNamespace};

/// A handler that is only named.
#[derive(Debug)]
struct Named(String, Program);

impl Handler for Named {
    fn name(&self) -> &str {
        &self.0
    }

    fn program(&self) -> &Program {
        &self.1
    }

    fn has_container_cgroups(&self) -> bool {
        true
    }

    fn has_user_namespaces(&self) -> bool {
        self.0 != "crun"
    }

    fn prepare(&self, _: Preparing<'_>) -> Result<Prepared, EngineError> {
        Err(EngineError::Closed)
    }

    fn process(
        &self,
        _: &Process,
        _: &[EnvVar],
        _: &ContainerSecurity,
        _: Option<UserNamespace>,
    ) -> Result<Vec<u8>, EngineError> {
        Err(EngineError::Closed)
    }

    fn forget(&self, _: Places<'_>) -> Result<(), EngineError> {
        Ok(())
    }
}

#[derive(Debug)]
struct Maker;

impl Runtimes for Maker {
    fn handler(&self, name: &str, _: Kind, _: &Path) -> Arc<dyn Handler> {
        Arc::new(Named(name.to_owned(), Program::new(b"")))
    }

    fn has(&self, _: Kind) -> bool {
        true
    }
}

/// Answers with what the file says: `bad` is unusable, `wait` waits until the test goes on.
#[derive(Debug)]
struct Reader {
    asked: AtomicUsize,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Check for Reader {
    fn check(&self, subject: &Subject) -> Result<Report, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let text = std::fs::read_to_string(&subject.program).map_err(|e| e.to_string())?;
        if text == "wait" {
            self.go_on.lock().unwrap().recv().unwrap();
        }
        if text == "bad" {
            return Err("it is bad".to_owned());
        }
        let features = Features { recursive_read_only: true, user_namespaces: true, checkpoint: true };
        Ok(Report { version: text, features })
    }

    fn running(&self) -> HashSet<SandboxId> {
        HashSet::new()
    }
}

struct World {
    handlers: Arc<Handlers>,
    check: Arc<Reader>,
    go_on: mpsc::Sender<()>,
    dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let (go_on, waits) = mpsc::channel();
    let check = Arc::new(Reader { asked: AtomicUsize::new(0), go_on: Mutex::new(waits) });
    let native: Arc<dyn Handler> = Arc::new(Named(NATIVE.to_owned(), Program::new(b"")));
    let search = Search { dirs: vec![dir.path().to_owned()], configured: BTreeMap::new() };
    let handlers = Handlers {
        fixed: HashMap::from([(NATIVE.to_owned(), native)]),
        default: NATIVE.to_owned(),
        search,
        runtimes: Arc::new(Maker),
        check: Arc::<Reader>::clone(&check),
        state: Mutex::default(),
    };
    World { handlers: Arc::new(handlers), check, go_on, dir }
}

impl World {
    fn put(&self, name: &str, text: &str) {
        let new = self.dir.path().join("new");
        executable::script(&new, text);
        std::fs::rename(&new, self.dir.path().join(name)).unwrap();
    }

    fn asked(&self) -> usize {
        self.check.asked.load(Ordering::SeqCst)
    }

    async fn why(&self, name: &str) -> String {
        self.handlers.ready(name).await.unwrap_err().to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_runtime_nothing_is_checked() {
    let world = world();
    let known = world.handlers.look_closely().await;
    let states: Vec<_> = known.iter().map(|one| (one.name.as_str(), one.kind)).collect();
    assert_eq!(states, [("native", "native"), ("crun", "oci"), ("runc", "oci"), ("runsc", "gvisor")]);
    assert_eq!(world.asked(), 0);
    assert!(world.handlers.ready("").await.is_ok());
    let why = world.why("runsc").await;
    let place = world.dir.path().join("runsc").display().to_string();
    assert!(why.contains(&place) && why.contains("gvisor.dev"), "{why}");
    assert_eq!(world.handlers.ready("runsc").await.unwrap_err().kind(), ErrorKind::Precondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_handler_is_told_what_there_is() {
    let world = world();
    let error = world.handlers.ready("kata").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let want = "runtime_handler: no handler is named \"kata\"; known are crun, native, runc, runsc";
    assert_eq!(error.to_string(), want);
    // A pod that was made by one that is gone since has its handler, to be taken down by.
    assert_eq!(world.handlers.of("kata").unwrap().name(), "kata");
    assert!(
        world.handlers.of("No_Name").unwrap_err().to_string().contains("no handler is named \"No_Name\"")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_comes_is_replaced_and_goes_is_noticed() {
    let world = world();
    assert!(world.why("runc").await.contains("install runc"));
    world.put("runc", "1.0");
    world.handlers.ready("runc").await.unwrap();
    world.handlers.ready("runc").await.unwrap();
    assert_eq!(world.asked(), 1, "a file is checked once");
    world.put("runc", "bad");
    assert!(world.why("runc").await.ends_with("the handler \"runc\" cannot be used: it is bad"));
    assert!(world.why("runc").await.ends_with("it is bad"));
    assert_eq!(world.asked(), 2, "and what failed not at once again");
    world.put("runc", "1.1");
    let known = world.handlers.look_closely().await;
    let runc = known.iter().find(|one| one.name == "runc").unwrap();
    assert!(matches!(&runc.state, Condition::Works { report, .. } if report.version == "1.1"), "{runc:?}");
    std::fs::remove_file(world.dir.path().join("runc")).unwrap();
    assert!(world.why("runc").await.contains("install runc"));
    assert!(world.handlers.of("runc").is_ok(), "its pods have their handler");
    assert_eq!(world.asked(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_ask_wait_for_one_check_and_others_do_not() {
    let world = world();
    world.put("runc", "wait");
    world.put("crun", "2.0");
    let asks: Vec<_> = (0..8)
        .map(|_| {
            let handlers = Arc::clone(&world.handlers);
            tokio::spawn(async move { handlers.ready("runc").await })
        })
        .collect();
    assert!(berth_testkit::guard::wait_until(Duration::from_secs(60), || world.asked() == 1));
    world.handlers.ready("crun").await.unwrap();
    let known = world.handlers.look();
    let state = |name: &str| known.iter().find(|one| one.name == name).map(|one| &one.state);
    assert_eq!(state("runc"), Some(&Condition::Checking));
    assert!(matches!(state("crun"), Some(Condition::Works { .. })));
    world.go_on.send(()).unwrap();
    for ask in asks {
        ask.await.unwrap().unwrap();
    }
    assert_eq!(world.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_looks_closely_has_what_failed_tried_again() {
    let world = world();
    world.put("runc", "bad");
    for round in 1..=3 {
        world.handlers.look_closely().await;
        assert_eq!(world.asked(), round);
    }
    world.put("runc", "good");
    for _ in 0..3 {
        world.handlers.look_closely().await;
    }
    assert_eq!(world.asked(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_empty_name_is_the_default_of_new_pods_and_native_in_records() {
    let world = world();
    assert_eq!(world.handlers.settled(""), "");
    assert_eq!(world.handlers.settled("native"), "");
    assert_eq!(world.handlers.settled("runc"), "runc");
    let mut handlers = Arc::into_inner(world.handlers).unwrap();
    handlers.default = "runc".to_owned();
    assert_eq!((handlers.settled(""), handlers.settled("native")), ("runc".to_owned(), String::new()));
    assert_eq!(handlers.of("").unwrap().name(), NATIVE);
}

#[test]
fn a_handler_has_what_runtime_host_and_engine_have() {
    let all = HandlerFeatures { recursive_read_only: true, user_namespaces: true, checkpoint: true };
    let said = Features { recursive_read_only: true, user_namespaces: true, checkpoint: true };
    let works = |has_user_namespaces| {
        let report = Report { version: "1".to_owned(), features: said.clone() };
        Known {
            name: "x".to_owned(),
            kind: "oci",
            program: None,
            state: Condition::Works { report, has_user_namespaces },
        }
    };
    assert_eq!(works(true).status(all, "x").features, all);
    assert!(works(true).status(all, "x").is_default);
    assert!(!works(false).status(all, "y").features.user_namespaces);
    let host = HandlerFeatures { checkpoint: true, ..HandlerFeatures::default() };
    assert_eq!(works(true).status(host, "x").features, host);
    let gone = Known { state: Condition::Missing("why".to_owned()), ..works(true) };
    let status = gone.status(all, "x");
    assert_eq!(status.features, HandlerFeatures::default());
    assert_eq!((status.state.word(), status.state.reason()), ("missing", "why"));
}
