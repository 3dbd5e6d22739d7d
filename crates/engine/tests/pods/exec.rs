//! Further processes and attached clients.

use std::time::{Duration, Instant};

use berth_engine::{EngineError, ExecRequest};
use berth_testkit::require_root;
use berth_types::lifecycle::container::State;
use berth_types::{Classify, Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{WAITS, World, sandbox, script, started, wait_for_file};

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

#[test]
pub(crate) fn exec_gives_output_status_and_errors() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("exec")).await.unwrap();
        let id = started(&engine, &pod, script("c", WAITS)).await;
        let out =
            engine.exec_sync(&id, words(&["sh", "-c", "echo a; echo b >&2; exit 4"]), None).await.unwrap();
        assert_eq!((out.stdout, out.stderr, out.code), (b"a\n".to_vec(), b"b\n".to_vec(), 4));
        let error = engine.exec_sync(&id, words(&["/nothing"]), None).await.unwrap_err();
        assert!(matches!(error, EngineError::Command { code: 127, .. }), "{error:?}");
        let error = engine.exec_sync(&id, words(&["/etc/passwd"]), None).await.unwrap_err();
        assert!(matches!(error, EngineError::Command { code: 126, .. }), "{error:?}");
        let error = engine
            .exec_sync(&id, words(&["sleep", "100"]), Some(Duration::from_millis(200)))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        // A child in the background that keeps the pipe open does not delay the answer.
        let began = Instant::now();
        let out = engine.exec_sync(&id, words(&["sh", "-c", "sleep 100 & echo x"]), None).await.unwrap();
        assert_eq!(out.stdout, b"x\n");
        assert!(began.elapsed() < Duration::from_secs(25));
        // More than is kept is read anyway.
        let big = "head -c 20000000 /dev/zero";
        let out = engine.exec_sync(&id, words(&["sh", "-c", big]), None).await.unwrap();
        assert_eq!((out.stdout.len(), out.code), (16 << 20, 0));
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

/// contract 4: a probe that hangs has failed, also in a container that is being stopped.
#[test]
pub(crate) fn a_timeout_is_told_during_a_grace_too() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("grace")).await.unwrap();
        let deaf = "trap '' TERM; : > /deaf; while :; do sleep 0.05; done";
        let id = started(&engine, &pod, script("deaf", deaf)).await;
        // Its signal is not to come before it is deaf: the kernel of gVisor does not keep that from a first process.
        wait_for_file(&engine, &id, "/deaf").await;
        let stop = tokio::spawn({
            let (engine, id) = (engine.clone(), id.clone());
            async move { engine.stop_container(&id, Duration::from_secs(3600)).await }
        });
        let stops = || matches!(engine.container(id.as_str()).unwrap().state, State::Stopping { .. });
        while !stops() {
            tokio::task::yield_now().await;
        }
        let limit = Some(Duration::from_millis(200));
        let error = engine.exec_sync(&id, words(&["sleep", "100"]), limit).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout, "{error}");
        let error = engine.exec_sync(&id, words(&["/nothing"]), limit).await.unwrap_err();
        assert!(matches!(error, EngineError::Command { code: 127, .. }), "{error:?}");
        assert!(stops(), "it was stopping all the time");
        engine.stop_container(&id, Duration::ZERO).await.unwrap();
        stop.await.unwrap().unwrap();
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn exec_as_another_user_has_the_home_of_that_user() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("home")).await.unwrap();
        let id = started(&engine, &pod, script("c", WAITS)).await;
        let mut config = script("told", WAITS);
        config.envs.push(berth_engine::model::EnvVar { name: "HOME".to_owned(), value: b"/told".to_vec() });
        let told = started(&engine, &pod, config).await;
        let home = async |id, user: Option<&str>, env: &[&str]| {
            let request = ExecRequest {
                argv: words(&["sh", "-c", "echo $HOME"]),
                user: user.map(str::to_owned),
                env: words(env),
                ..ExecRequest::default()
            };
            let mut session = engine.exec(id, request).await.unwrap();
            let mut text = String::new();
            session.stdout.read_to_string(&mut text).await.unwrap();
            session.ending.wait().await.unwrap();
            text.trim().to_owned()
        };
        let root = home(&id, None, &[]).await;
        assert_eq!(home(&id, Some("0"), &[]).await, root);
        assert_eq!(home(&id, Some("web"), &[]).await, "/home");
        // A user that the image does not know.
        assert_eq!(home(&id, Some("12345"), &[]).await, "/");
        assert_eq!(home(&id, Some("12345"), &["HOME=/asked"]).await, "/asked");
        assert_eq!(home(&told, Some("12345"), &[]).await, "/told");
        assert_ne!(root, "/");
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn exec_with_streams_and_with_a_terminal() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("streams")).await.unwrap();
        let id = started(&engine, &pod, script("c", WAITS)).await;
        let request = ExecRequest { argv: words(&["cat"]), stdin: true, ..ExecRequest::default() };
        let mut session = engine.exec(&id, request).await.unwrap();
        let mut stdin = session.stdin.take().unwrap();
        stdin.write_all(b"hello").await.unwrap();
        stdin.shutdown().await.unwrap();
        let mut text = String::new();
        session.stdout.read_to_string(&mut text).await.unwrap();
        assert_eq!((text.as_str(), session.ending.wait().await.unwrap().code), ("hello", 0));
        let request = ExecRequest {
            argv: words(&["sh", "-c", "test -t 0 && test -t 1 && read line && echo got $line $TERM; exit 5"]),
            tty: true,
            stdin: true,
            ..ExecRequest::default()
        };
        let mut session = engine.exec(&id, request).await.unwrap();
        session.resizer.as_ref().unwrap().resize(33, 77).await.unwrap();
        session.stdin.as_mut().unwrap().write_all(b"word\n").await.unwrap();
        let mut text = String::new();
        session.stdout.read_to_string(&mut text).await.unwrap();
        assert!(text.contains("got word xterm"), "{text:?}");
        assert_eq!(session.ending.wait().await.unwrap().code, 5);
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}

#[test]
pub(crate) fn an_attached_client_talks_to_the_main_process() {
    require_root!();
    let mut world = World::new();
    let engine = world.with_image();
    world.run(async {
        let pod = engine.run_sandbox(sandbox("attach")).await.unwrap();
        let mut config = script("c", "read a; echo got $a; echo e >&2; read b; exit 9");
        config.stdin = true;
        let id = started(&engine, &pod, config).await;
        let mut session = engine.attach(&id, true).await.unwrap();
        session.stdin.as_mut().unwrap().write_all(b"one\n").await.unwrap();
        let mut line = [0; 8];
        session.stdout.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"got one\n");
        session.stdin.as_mut().unwrap().write_all(b"two\n").await.unwrap();
        let mut rest = String::new();
        session.stderr.as_mut().unwrap().read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "e\n");
        assert_eq!(crate::harness::ended(&engine, &id).await.code, 9);
        engine.remove_sandbox(&pod).await.unwrap();
    });
    world.finish(engine);
}
