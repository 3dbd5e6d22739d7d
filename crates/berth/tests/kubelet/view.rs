//! The kubelet's pods as it tells them.

use serde_json::Value;

/// All of them.
#[derive(Debug, Default)]
pub struct Pods(Vec<Pod>);

/// One, as the API has it.
#[derive(Debug, Clone)]
pub struct Pod(Value);

/// The status of one container.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a>(&'a Value);

impl Pods {
    pub fn parse(text: &str) -> Option<Self> {
        let list: Value = serde_json::from_str(text).ok()?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        Some(Self(items.into_iter().map(Pod).collect()))
    }

    /// The static pod of this name.
    pub fn get(&self, name: &str) -> Option<&Pod> {
        self.0.iter().find(|pod| pod.name().strip_suffix("-node") == Some(name))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Pod {
    /// With the name of the node behind that of the manifest.
    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap()
    }

    pub fn uid(&self) -> &str {
        self.0["metadata"]["uid"].as_str().unwrap()
    }

    pub fn status(&self) -> &Value {
        &self.0["status"]
    }

    pub fn phase(&self) -> &str {
        self.0["status"]["phase"].as_str().unwrap_or_default()
    }

    pub fn address(&self) -> &str {
        self.0["status"]["podIP"].as_str().unwrap_or_default()
    }

    /// Whether a condition is true.
    pub fn is(&self, condition: &str) -> bool {
        let conditions = self.0["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|c| c["type"] == condition && c["status"] == "True")
    }

    pub fn is_ready(&self) -> bool {
        self.is("Ready")
    }

    /// A container of any kind; None before the kubelet speaks of it.
    pub fn get(&self, name: &str) -> Option<Container<'_>> {
        let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
        let all = lists.iter().filter_map(|list| self.0["status"][list].as_array()).flatten();
        all.map(Container).find(|container| container.0["name"] == name)
    }

    #[track_caller]
    pub fn container(&self, name: &str) -> Container<'_> {
        self.get(name).unwrap_or_else(|| panic!("no container {name}: {self:#?}"))
    }
}

impl<'a> Container<'a> {
    /// Without the runtime's name in front.
    pub fn id(self) -> &'a str {
        let id = self.0["containerID"].as_str().unwrap_or_default();
        id.split_once("://").map_or("", |(_, id)| id)
    }

    pub fn status(self) -> &'a Value {
        self.0
    }

    pub fn restarts(self) -> u64 {
        self.0["restartCount"].as_u64().unwrap()
    }

    pub fn has_started(self) -> bool {
        self.0["started"] == true
    }

    pub fn is_running(self) -> bool {
        self.0["state"]["running"].is_object()
    }

    /// Why it waits.
    pub fn waits_for(self) -> &'a str {
        self.0["state"]["waiting"]["reason"].as_str().unwrap_or_default()
    }

    /// How it has ended, or how the one before it has.
    pub fn ended(self) -> Option<&'a Value> {
        let states = [&self.0["state"], &self.0["lastState"]];
        states.into_iter().map(|state| &state["terminated"]).find(|ended| ended.is_object())
    }

    pub fn exit_code(self) -> Option<i64> {
        self.ended()?["exitCode"].as_i64()
    }
}
