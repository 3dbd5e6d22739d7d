//! The OCI runtime in two halves: plan (pure) and run (executes a plan).
