//! The kubelet's door: the CRI v1 services.
