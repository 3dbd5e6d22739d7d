//! A daemon that is killed and started again under twenty pods that write.

use std::fs::File;
use std::io::Write;

use berth_testkit::require_root;

use crate::home::{BUSYBOX, Home};

const PODS: usize = 20;
const LINES: usize = 200;

#[test]
fn no_line_is_lost_or_doubled_when_the_daemon_is_killed() {
    require_root!();
    let mut home = Home::start();
    home.berth(&["pull", "-q", BUSYBOX]).fine();
    let mut documents = Vec::new();
    for pod in 0..PODS {
        let fifo = home.dir.path().join(format!("go{pod}"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        documents.push(format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{pod}}}\nspec:\n  restartPolicy: Never\n  containers:\n  - name: c\n    image: {BUSYBOX}\n    command: [sh, -c, 'while read -r n; do echo \"{pod} $n\"; done < /go']\n    volumeMounts: [{{name: go, mountPath: /go}}]\n  volumes: [{{name: go, hostPath: {{path: {}}}}}]\n",
            fifo.display()
        ));
    }
    home.feed(&["play", "-q", "-"], documents.join("---\n").as_bytes()).fine();
    let open =
        |pod: usize| File::options().write(true).open(home.dir.path().join(format!("go{pod}"))).unwrap();
    let mut inputs: Vec<File> = (0..PODS).map(open).collect();
    let mut write = |from: usize, to: usize| {
        for n in from..to {
            inputs.iter_mut().for_each(|input| writeln!(input, "{n}").unwrap());
        }
    };
    write(0, 50);
    home.daemon.kill().unwrap();
    write(50, 100);
    home.daemon.start().unwrap();
    let running = home.berth(&["ps", "-o", "json"]).json();
    assert_eq!(running.as_array().unwrap().len(), PODS);
    assert!(running.as_array().unwrap().iter().all(|c| c["state"] == "running"), "{running}");
    write(100, 150);
    let follow: Vec<_> = (0..PODS).map(|pod| home.spawn(&["logs", "-f", &format!("p{pod}")])).collect();
    follow.iter().enumerate().for_each(|(pod, call)| call.shows(&format!("{pod} 149\n")));
    home.daemon.kill().unwrap();
    write(150, LINES);
    home.daemon.start().unwrap();
    drop(inputs);
    for (pod, call) in follow.into_iter().enumerate() {
        let wanted: String = (0..LINES).map(|n| format!("{pod} {n}\n")).collect();
        assert_eq!(call.end().fine(), wanted, "pod {pod}");
    }
    let names: Vec<String> = (0..PODS).map(|pod| format!("p{pod}")).collect();
    home.berth(&[vec!["down".to_owned()], names].concat()).fine();
    home.clean();
}
