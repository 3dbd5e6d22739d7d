//! What runtime, files and logs say.

use std::path::{Path, PathBuf};

use berth_cri::api;
use berth_cri::api::image_service_client::ImageServiceClient;

use super::Node;
use crate::cri::Cri;
use crate::view::Pod;

impl Node {
    /// A connection to the runtime.
    pub fn cri(&self) -> Cri {
        Cri::connect(&self.daemon().socket()).unwrap()
    }

    /// The containers that the runtime has of a pod, those that ended too.
    pub fn containers(&self, pod: &Pod) -> Vec<api::Container> {
        let all = self.cri().containers().unwrap();
        all.into_iter()
            .filter(|c| c.labels.get("io.kubernetes.pod.uid").is_some_and(|u| u == pod.uid()))
            .collect()
    }

    /// The tags of each image.
    pub fn images(&self) -> Vec<Vec<String>> {
        let request = api::ListImagesRequest::default();
        let answer = self.cri().call_on(async |c| ImageServiceClient::new(c).list_images(request).await);
        answer.unwrap().images.into_iter().map(|image| image.repo_tags).collect()
    }

    pub fn pull(&self, image: &str) {
        let image = Some(api::ImageSpec { image: image.to_owned(), ..Default::default() });
        let request = api::PullImageRequest { image, ..Default::default() };
        self.cri().call_on(async |c| ImageServiceClient::new(c).pull_image(request).await).unwrap();
    }

    /// Where the logs of a pod's container are.
    pub fn logs(&self, pod: &Pod, container: &str) -> PathBuf {
        let dir = format!("/var/log/pods/default_{}_{}", pod.name(), pod.uid());
        Path::new(&dir).join(container)
    }

    /// Where tools that gather logs look for that of a running container.
    pub fn link(&self, pod: &Pod, container: &str) -> PathBuf {
        let id = pod.container(container).id();
        format!("/var/log/containers/{}_default_{container}-{id}.log", pod.name()).into()
    }

    /// What the first container of this name has written, once it is so many lines.
    #[track_caller]
    pub fn log(&self, pod: &Pod, container: &str, count: usize) -> Vec<String> {
        let file = self.logs(pod, container).join("0.log");
        self.wait("the container has written its lines", pod.name(), |_| {
            let text = std::fs::read_to_string(&file).ok()?;
            let lines = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3));
            let lines: Vec<_> = lines.map(str::to_owned).collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    /// The names in a directory; none when it does not exist.
    pub fn files(&self, dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }
}
