//! The tests.

mod hooks;
mod logs;
mod order;
mod probes;
mod resources;
mod restarts;
mod security;
mod survival;
mod volumes;

use crate::Case;

macro_rules! cases {
    ($($module:ident :: $name:ident,)*) => { &[$((concat!(stringify!($module), "::", stringify!($name)), $module::$name),)*] };
}

/// Those that mind their own pods.
pub const SIDE_BY_SIDE: &[Case] = cases![
    probes::liveness_by_exec_restarts_the_container,
    probes::readiness_by_http_gates_the_pod,
    probes::readiness_by_tcp_gates_the_pod,
    probes::readiness_by_grpc_gates_the_pod,
    probes::startup_comes_before_liveness,
    probes::a_probe_that_hangs_has_failed,
    order::init_containers_run_one_after_another,
    order::an_init_container_that_fails_fails_the_pod,
    order::sidecars_start_before_and_stop_after_the_others,
    order::a_sidecar_does_not_keep_a_pod_from_its_end,
    restarts::a_crash_loop_counts_and_backs_off,
    restarts::the_count_survives_the_loss_of_all_containers,
    restarts::on_failure_ends_with_the_first_success,
    restarts::a_changed_manifest_replaces_the_pod,
    hooks::post_start_and_pre_stop_commands_run,
    hooks::pre_stop_over_http_and_asleep,
    hooks::a_post_start_that_fails_restarts_the_container,
    hooks::a_grace_that_is_over_ends_in_a_kill,
    hooks::termination_messages_come_from_file_or_log,
    volumes::volumes_of_every_kind,
    volumes::sub_paths_are_mounted,
    volumes::mounts_propagate_as_asked,
    resources::limits_are_in_cgroups_of_their_class,
    resources::a_container_out_of_memory_is_called_so_at_once,
    resources::the_summary_has_every_pod,
    security::users_and_groups_are_obeyed,
    security::run_as_non_root_refuses_root,
    security::the_hosts_network_is_the_nodes,
    security::a_shared_process_namespace_is_shared,
    security::sysctls_names_and_hosts_are_set,
    logs::rotation_loses_no_line,
    logs::every_log_is_linked_and_read_through_the_kubelet,
];

/// Those that change the node, and what follows from all of them.
pub const ONE_BY_ONE: &[Case] = cases![
    survival::a_new_kubelet_adopts_what_runs,
    survival::the_summary_has_every_pod_by_the_cri,
    survival::daemons_are_killed_while_pods_come_and_go,
    survival::both_are_killed_under_each_other,
    survival::a_full_disk_removes_unused_images_and_containers,
    survival::nothing_is_left_of_pods_that_are_gone,
];
