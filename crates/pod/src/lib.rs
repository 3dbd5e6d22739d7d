//! Pod manifests with kubelet semantics, turned into engine requests.
