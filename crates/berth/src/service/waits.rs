//! What a pod that is being started waits for: told after a while, and whenever it changes.

use std::time::Duration;

use berth_engine::model::Owner;
use berth_pod::manifest::Pod;
use berth_pod::status::Shape;

use super::Service;

/// How long nothing is told.
const QUIET: Duration = Duration::from_secs(5);

/// The waits of one pod.
#[derive(Debug)]
pub(super) struct Waits {
    name: String,
    namespace: String,
    told: String,
}

impl Waits {
    pub(super) fn of(pod: &Pod) -> Self {
        let namespace = pod.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
        Self { name: pod.metadata.name.clone(), namespace, told: String::new() }
    }

    /// Answers when there is something to tell. May be dropped and asked again.
    pub(super) async fn next(&mut self, service: &Service) -> String {
        loop {
            tokio::time::sleep(QUIET).await;
            if let Some(note) = self.look(service).filter(|note| *note != self.told) {
                self.told.clone_from(&note);
                return note;
            }
        }
    }

    fn look(&self, service: &Service) -> Option<String> {
        let mut pods = service.engine.sandboxes(Some(Owner::Local)).into_iter();
        let view = pods.find(|view| {
            let metadata = &view.config.metadata;
            (&metadata.name, &metadata.namespace) == (&self.name, &self.namespace)
        })?;
        let word = service.status(&Shape::of(&view), &view).word;
        let name = &self.name;
        let runs = |view: &&std::sync::Arc<berth_engine::model::ContainerView>| {
            view.state == berth_types::lifecycle::container::State::Running
        };
        let of = view.containers.iter().find(runs).map(|view| view.config.metadata.name.as_str());
        let logs = of.map_or_else(String::new, |of| format!("; berth logs {name}/{of} shows what it writes"));
        (word != "Running").then(|| format!("pod {name} is waiting: {word}{logs}"))
    }
}
