use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::config::{BuiltinNetwork, CniNetwork, ImageConfig};
use crate::model::{
    Dns, Owner, PidMode, PortMapping, Protocol, Resources, SandboxMetadata, SandboxSecurity, SelinuxLabel,
};

fn engine(network: NetworkChoice) -> EngineConfig {
    EngineConfig {
        instance: String::new(),
        root: "/root".into(),
        state: "/state".into(),
        cgroup_driver: crate::CgroupDriver::Cgroupfs,
        cgroup_root: "/berth".into(),
        cgroup_slice: "berth.slice".into(),
        handlers: BTreeMap::from([("runsc".to_owned(), PathBuf::from("/usr/bin/runsc"))]),
        handler_dirs: Vec::new(),
        cdi_dirs: Vec::new(),
        hooks_dirs: Vec::new(),
        default_handler: "native".into(),
        images: ImageConfig::default(),
        cri_network: network,
        local_network: NetworkChoice::Builtin,
        builtin: BuiltinNetwork {
            bridge: String::new(),
            table: String::new(),
            cidr4: String::new(),
            services4: String::new(),
        },
        cni: CniNetwork { conf_dir: PathBuf::new(), bin_dirs: Vec::new() },
        shim: b"",
        open_files: None,
    }
}

fn host() -> HostFacts {
    HostFacts {
        capabilities: 0,
        least_oom_score: 0,
        hostname: "node".into(),
        unified: true,
        accounts_swap: true,
        limits_hugepages: true,
        selinux: true,
    }
}

fn pod() -> SandboxConfig {
    SandboxConfig {
        owner: Owner::Cri,
        metadata: SandboxMetadata {
            name: "a".into(),
            uid: String::new(),
            namespace: String::new(),
            attempt: 0,
        },
        hostname: String::new(),
        log_directory: None,
        dns: None,
        ports: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        handler: String::new(),
        cgroup_parent: None,
        namespaces: Namespaces {
            network: Network::Pod,
            pid: PidMode::Pod,
            ipc: NamespaceMode::Pod,
            user: None,
        },
        names: crate::model::Names::default(),
        sysctls: BTreeMap::new(),
        security: SandboxSecurity::default(),
        resources: Resources::default(),
    }
}

fn checked(network: NetworkChoice, change: impl FnOnce(&mut SandboxConfig)) -> Result<(), EngineError> {
    let mut config = pod();
    change(&mut config);
    sandbox(&config, &engine(network), &host())
}

#[test]
fn what_a_pod_may_not_ask_for_is_refused_by_name() {
    type Change = fn(&mut SandboxConfig);
    let cases: [(&str, Change); 8] = [
        ("metadata.name", |c| c.metadata.name.clear()),
        ("hostname", |c| c.hostname = "-bad-".into()),
        ("selinux_options", |c| c.security.selinux = Some(SelinuxLabel::default())),
        ("log_directory", |c| c.log_directory = Some("relative".into())),
        ("namespaces.pid", |c| c.namespaces.pid = PidMode::Target("x".into())),
        ("sysctls", |c| drop(c.sysctls.insert("vm.swappiness".into(), "1".into()))),
        ("sysctls", |c| drop(c.sysctls.insert("net/../../x".into(), "1".into()))),
        ("dns_config", |c| c.dns = Some(Dns { servers: vec!["1.1.1.1\nevil".into()], ..Dns::default() })),
    ];
    for (field, change) in cases {
        let error = checked(NetworkChoice::Builtin, change).unwrap_err();
        assert!(error.to_string().starts_with(field), "{field}: {error}");
    }
    assert!(checked(NetworkChoice::Builtin, |_| {}).is_ok());
}

#[test]
fn sysctls_are_those_of_the_pods_own_namespaces() {
    let with = |name: &str, network, ipc| {
        checked(NetworkChoice::Builtin, |c| {
            c.sysctls.insert(name.to_owned(), "1".to_owned());
            c.namespaces.network = network;
            c.namespaces.ipc = ipc;
        })
    };
    use NamespaceMode::{Node, Pod};
    assert!(with("net.core.somaxconn", Network::Pod, Node).is_ok());
    assert!(with("net.core.somaxconn", Network::Host, Pod).is_err());
    for name in ["kernel.shm_rmid_forced", "kernel.sem", "kernel.msgmax", "fs.mqueue.msg_max"] {
        assert!(with(name, Network::Host, Pod).is_ok(), "{name}");
        assert!(with(name, Network::Pod, Node).is_err(), "{name}");
    }
    for name in ["kernel.hostname", "fs.file-max", "", "net", "net..x"] {
        assert!(with(name, Network::Pod, Pod).is_err(), "{name:?}");
    }
}

#[test]
fn a_pod_without_a_network_has_no_ports() {
    let port = PortMapping { protocol: Protocol::Tcp, container_port: 80, host_port: 8080, host_ip: None };
    assert!(checked(NetworkChoice::None, |c| c.ports = vec![port.clone()]).is_err());
    assert!(checked(NetworkChoice::Builtin, |c| c.ports = vec![port]).is_ok());
}

#[test]
fn a_pod_on_the_hosts_network_has_the_hosts_name_and_ports() {
    let port = |container_port, host_port| PortMapping {
        protocol: Protocol::Tcp,
        container_port,
        host_port,
        host_ip: None,
    };
    let on_host = |hostname: &str, ports: Vec<PortMapping>| {
        checked(NetworkChoice::Builtin, |c| {
            c.namespaces.network = Network::Host;
            (c.hostname, c.ports) = (hostname.to_owned(), ports);
        })
        .map_err(|e| e.to_string())
    };
    assert_eq!(on_host("", vec![port(80, 80), port(90, 0)]), Ok(()));
    assert_eq!(on_host("node", Vec::new()), Ok(()));
    assert!(on_host("web", Vec::new()).unwrap_err().starts_with("hostname: "));
    assert!(on_host("", vec![port(80, 80), port(80, 8080)]).unwrap_err().starts_with("port_mappings: "));
}
