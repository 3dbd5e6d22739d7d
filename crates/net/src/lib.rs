//! Pod networks: the built-in bridge network, host ports, and (next) CNI plugins.
