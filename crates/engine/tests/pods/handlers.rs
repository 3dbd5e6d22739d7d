//! The handler suite: what a pod's processes are made by makes no difference for these. Each is a test of its own for Berth's own
//! runtime; here they are run for other ones.

use berth_testkit::guard::takes_crun;
use berth_testkit::{require, require_root};

use crate::user_namespace::{self, files};
use crate::{
    concurrency, damage, exec, failures, harness, hooks, life, limits, network, oom, recovery, silent, stats,
    volumes,
};

/// The suite for the OCI runtime at a path. What it cannot do is in docs/handlers.md.
macro_rules! suite {
    ($handler:ident, $runtime:literal: $($module:ident :: $test:ident),+ $(,)?) => {
        mod $handler {
            $(#[test]
            fn $test() {
                super::require_root!();
                super::require!(!$runtime.ends_with("crun") || super::takes_crun(), "crun needs a host whose cgroup2 has no controllers beside version 1");
                super::harness::under((stringify!($handler), $runtime), super::$module::$test);
            })+
        }
    };
}

macro_rules! suites {
    ($($handler:ident at $runtime:literal),+) => {
        $(suite! { $handler, $runtime:
            life::a_pod_runs_writes_its_log_and_leaves_nothing,
            life::the_same_identity_with_another_configuration_or_stopped_is_taken,
            life::stopping_signals_once_waits_and_kills,
            life::containers_may_share_processes_and_memory,
            life::users_environment_and_limits_are_applied,
            exec::exec_gives_output_status_and_errors,
            exec::a_timeout_is_told_during_a_grace_too,
            exec::exec_as_another_user_has_the_home_of_that_user,
            exec::exec_with_streams_and_with_a_terminal,
            exec::an_attached_client_talks_to_the_main_process,
            failures::a_command_that_is_not_there_ends_as_start_error,
            failures::a_container_that_cannot_be_created_leaves_nothing,
            recovery::pods_run_on_without_the_daemon_and_are_found_again,
            recovery::a_pod_whose_shim_is_killed_ends_in_the_defined_way,
            recovery::a_shim_that_died_with_the_daemon_is_found_so,
            recovery::a_stopped_pod_and_a_partly_created_one_are_distinguished,
            recovery::a_pod_whose_removal_was_cut_off_is_found_and_removed,
            recovery::a_connection_that_is_lost_ends_nothing,
            silent::its_containers_and_its_pod_can_be_ended_without_it,
            silent::a_pod_with_running_containers_is_removed_without_it,
            damage::a_pod_is_removed_even_if_its_parts_are_missing,
            limits::a_period_keeps_the_quota_and_a_change_refused_half_way_is_taken_back,
            limits::a_pod_is_resized_and_stays_so_under_the_next_daemon,
            oom::a_container_over_its_own_limit_is_oom_killed_and_the_limit_is_named,
            oom::oom_of_a_child_is_not_that_of_its_container,
            volumes::an_image_is_a_volume_that_several_containers_share_and_keep,
            volumes::a_part_of_an_image_is_a_volume,
            network::pods_have_addresses_names_and_reach_each_other,
            stats::only_what_runs_has_numbers_and_a_rate_comes_with_the_second_sample,
            concurrency::sixteen_pods_at_once_come_and_go,
            hooks::hooks_run_at_each_point_for_the_containers_that_they_are_for,
            user_namespace::contract_19_every_namespace_of_the_pod_belongs_to_its_user_namespace,
            user_namespace::streams_terminals_and_users_work_in_main_processes_and_further_ones,
            user_namespace::devices_are_bound_and_none_can_be_made,
            user_namespace::the_hosts_network_goes_with_a_read_only_sysfs_of_the_host,
            user_namespace::contract_17_sysctls_low_ports_and_pings_are_the_pods,
            user_namespace::a_restarted_daemon_goes_on_with_the_pod,
            user_namespace::what_the_user_namespace_does_not_have_is_refused_by_name,
            files::files_are_the_containers_inside_and_the_mapped_ids_outside,
            files::capabilities_of_an_images_files_work,
            files::a_volume_that_cannot_be_idmapped_is_refused_with_its_file_system,
            files::the_root_of_one_pod_is_nobody_to_another,
        })+
    };
}

suites! { runc at "/usr/sbin/runc", crun at "/usr/bin/crun" }

/// crun 1.8 binds nothing that is mounted below a volume, in a user namespace.
#[test]
fn volumes_of_a_user_namespace_by_runc() {
    require_root!();
    harness::under(("runc", "/usr/sbin/runc"), files::volumes_keep_their_owners_with_the_mounts_below_them);
}

/// The same for containerd's shim for runc: Debian's, and a newer one that speaks the protocol's next version. They have no user namespaces, and
/// of a container that could not be made, the pod's shim and its group stay: see `foreign.rs`.
macro_rules! shim_suites {
    ($handlers:tt: $tests:tt) => { shim_suites! { @each $handlers $tests } };
    (@each { $($handler:ident)+ } $tests:tt) => { $(shim_suites! { @one $handler $tests })+ };
    (@one $handler:ident { $($module:ident :: $test:ident),+ $(,)? }) => {
        mod $handler {
            $(#[test]
            fn $test() {
                super::require_root!();
                let program = super::harness::foreign_shim(stringify!($handler));
                super::require!(program.is_some(), "needs the package containerd, or for the newer one containerd's shim in BERTH_SHIMS");
                super::harness::under((super::harness::SHIM, program.unwrap()), super::$module::$test);
            })+
        }
    };
}

shim_suites! { { shim newer_shim }: {
    life::a_pod_runs_writes_its_log_and_leaves_nothing,
    life::the_same_identity_with_another_configuration_or_stopped_is_taken,
    life::stopping_signals_once_waits_and_kills,
    life::containers_may_share_processes_and_memory,
    life::users_environment_and_limits_are_applied,
    exec::exec_gives_output_status_and_errors,
    exec::a_timeout_is_told_during_a_grace_too,
    exec::exec_as_another_user_has_the_home_of_that_user,
    exec::exec_with_streams_and_with_a_terminal,
    exec::an_attached_client_talks_to_the_main_process,
    failures::a_command_that_is_not_there_ends_as_start_error,
    recovery::pods_run_on_without_the_daemon_and_are_found_again,
    recovery::a_pod_whose_shim_is_killed_ends_in_the_defined_way,
    recovery::a_shim_that_died_with_the_daemon_is_found_so,
    recovery::a_stopped_pod_and_a_partly_created_one_are_distinguished,
    recovery::a_pod_whose_removal_was_cut_off_is_found_and_removed,
    recovery::a_connection_that_is_lost_ends_nothing,
    silent::its_containers_and_its_pod_can_be_ended_without_it,
    silent::a_pod_with_running_containers_is_removed_without_it,
    damage::a_pod_is_removed_even_if_its_parts_are_missing,
    limits::a_period_keeps_the_quota_and_a_change_refused_half_way_is_taken_back,
    limits::a_pod_is_resized_and_stays_so_under_the_next_daemon,
    oom::a_container_over_its_own_limit_is_oom_killed_and_the_limit_is_named,
    oom::oom_of_a_child_is_not_that_of_its_container,
    volumes::an_image_is_a_volume_that_several_containers_share_and_keep,
    volumes::a_part_of_an_image_is_a_volume,
    network::pods_have_addresses_names_and_reach_each_other,
    stats::only_what_runs_has_numbers_and_a_rate_comes_with_the_second_sample,
    concurrency::sixteen_pods_at_once_come_and_go,
} }

/// The same for gVisor, whose pods have a kernel of their own. What is not the same is in `gvisor.rs`: limits, statistics, memory that runs out,
/// what stays of a container that could not be made (its pod's kernel), and what only Linux tells of a process.
macro_rules! gvisor_suite {
    ($($module:ident :: $test:ident),+ $(,)?) => {
        mod gvisor {
            $(#[test]
            fn $test() {
                super::require_root!();
                let runsc = super::harness::runsc();
                super::require!(runsc.is_some(), "BERTH_GVISOR is not set: cargo xtask test builds gVisor");
                super::harness::under((super::harness::GVISOR, runsc.unwrap()), super::$module::$test);
            })+
        }
    };
}

gvisor_suite! {
    life::a_pod_runs_writes_its_log_and_leaves_nothing,
    life::the_same_identity_with_another_configuration_or_stopped_is_taken,
    life::containers_may_share_processes_and_memory,
    exec::exec_gives_output_status_and_errors,
    exec::a_timeout_is_told_during_a_grace_too,
    exec::exec_as_another_user_has_the_home_of_that_user,
    exec::exec_with_streams_and_with_a_terminal,
    exec::an_attached_client_talks_to_the_main_process,
    recovery::pods_run_on_without_the_daemon_and_are_found_again,
    recovery::a_pod_whose_shim_is_killed_ends_in_the_defined_way,
    recovery::a_shim_that_died_with_the_daemon_is_found_so,
    recovery::a_stopped_pod_and_a_partly_created_one_are_distinguished,
    recovery::a_pod_whose_removal_was_cut_off_is_found_and_removed,
    recovery::a_connection_that_is_lost_ends_nothing,
    silent::its_containers_and_its_pod_can_be_ended_without_it,
    silent::a_pod_with_running_containers_is_removed_without_it,
    volumes::an_image_is_a_volume_that_several_containers_share_and_keep,
    volumes::a_part_of_an_image_is_a_volume,
    network::pods_have_addresses_names_and_reach_each_other,
    concurrency::sixteen_pods_at_once_come_and_go,
}
