//! Volumes.

use rustix::mount::{UnmountFlags, unmount};

use crate::node::{Node, mount_memory};

/// Every kind that needs no API server.
pub fn volumes_of_every_kind(node: &Node) {
    std::fs::write(node.shared("volumes").join("given"), "given\n").unwrap();
    node.apply(
        "volumes",
        "
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: BUSYBOX
    command:
    - sh
    - -c
    - |
      {
      echo disk $(stat -c %a /disk) $(touch /disk/x && echo written)
      echo memory $(stat -f -c %T /memory) $(df -k /memory | awk 'NR==2 {print $2}')
      echo fields $(cat /fields/name) $(cat /fields/cpu) $(cat /fields/below/uid) $(touch /fields/x 2>/dev/null || echo read-only)
      echo given $(cat /etc/given) $({ echo x >/etc/given; } 2>/dev/null || echo read-only)
      echo made $(touch /made/x && echo written)
      echo env $NAME $NODE $HOST_ADDRESS $MEMORY
      echo address $ADDRESS
      } >/state/out
      mv /state/out /state/result
      exec sleep 3600
    env:
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: HOST_ADDRESS, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
    - {name: ADDRESS, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
    resources: {requests: {cpu: 10m}, limits: {cpu: '2', memory: 64Mi}}
    volumeMounts:
    - {name: disk, mountPath: /disk}
    - {name: memory, mountPath: /memory}
    - {name: fields, mountPath: /fields}
    - {name: given, mountPath: /etc/given, readOnly: true}
    - {name: made, mountPath: /made}
    - {name: state, mountPath: /state}
  volumes:
  - {name: disk, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - name: fields
    downwardAPI:
      items:
      - {path: name, fieldRef: {fieldPath: metadata.name}}
      - {path: cpu, resourceFieldRef: {containerName: c, resource: limits.cpu}}
      - {path: below/uid, fieldRef: {fieldPath: metadata.uid}}
  - {name: given, hostPath: {path: SHARED/given, type: File}}
  - {name: made, hostPath: {path: SHARED/made, type: DirectoryOrCreate}}
  - {name: state, hostPath: {path: SHARED, type: Directory}}
",
    );
    let pod = node.ready("volumes");
    let result = node.shared("volumes").join("result");
    node.wait("the script has run", "volumes", |_| result.exists().then_some(()));
    let expected = [
        "disk 777 written".to_owned(),
        "memory tmpfs 1024".to_owned(),
        format!("fields volumes-node 2 {} read-only", pod.uid()),
        "given given read-only".to_owned(),
        "made written".to_owned(),
        "env volumes-node node 192.0.2.1 67108864".to_owned(),
        format!("address {}", pod.address()),
    ];
    assert_eq!(node.lines("volumes", "result"), expected);
    assert!(node.shared("volumes").join("made/x").exists());
    let mounts = pod.container("c").status()["volumeMounts"].as_array().unwrap().len();
    assert_eq!(mounts, 6, "{pod:#?}");
    node.end("volumes");
}

pub fn sub_paths_are_mounted(node: &Node) {
    let shared = node.shared("sub-paths");
    std::fs::create_dir(shared.join("dir")).unwrap();
    std::fs::write(shared.join("dir/file"), "file\n").unwrap();
    node.apply(
        "sub-paths",
        "
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: BUSYBOX
    command: [sh, -c, 'cat /file /dir/file >/own/out; mv /own/out /own/result; exec sleep 3600']
    env: [{name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    volumeMounts:
    - {name: state, mountPath: /file, subPath: dir/file, readOnly: true}
    - {name: state, mountPath: /dir, subPath: dir}
    - {name: state, mountPath: /own, subPathExpr: of/$(NAME)}
  volumes: [{name: state, hostPath: {path: SHARED}}]
",
    );
    let result = shared.join("of/sub-paths-node/result");
    node.wait("the script has run", "sub-paths", |_| result.exists().then_some(()));
    assert_eq!(std::fs::read_to_string(result).unwrap(), "file\nfile\n");
    node.end("sub-paths");
}

pub fn mounts_propagate_as_asked(node: &Node) {
    let shared = node.shared("propagation");
    for name in ["down", "up", "private"] {
        std::fs::create_dir_all(shared.join(name).join("below")).unwrap();
    }
    node.apply(
        "propagation",
        "
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: BUSYBOX
    command: [sh, -c, 'mount -t tmpfs none /up/below; touch /up/below/file; while :; do sleep 1; done']
    securityContext: {privileged: true}
    readinessProbe: {exec: {command: [test, -e, /down/below/file]}, periodSeconds: 1, failureThreshold: 1}
    livenessProbe: {exec: {command: [test, '!', -e, /private/below/file]}, periodSeconds: 1, failureThreshold: 1}
    volumeMounts:
    - {name: down, mountPath: /down, mountPropagation: HostToContainer}
    - {name: up, mountPath: /up, mountPropagation: Bidirectional}
    - {name: private, mountPath: /private, mountPropagation: None}
  volumes:
  - {name: down, hostPath: {path: SHARED/down}}
  - {name: up, hostPath: {path: SHARED/up}}
  - {name: private, hostPath: {path: SHARED/private}}
",
    );
    let up = shared.join("up/below");
    node.wait("its mount is seen on the node", "propagation", |_| up.join("file").exists().then_some(()));
    for name in ["private", "down"] {
        let below = shared.join(name).join("below");
        mount_memory(&below);
        std::fs::write(below.join("file"), "").unwrap();
    }
    let pod = node.ready("propagation");
    assert_eq!(pod.container("c").restarts(), 0, "{pod:#?}");
    for name in ["private", "down", "up"] {
        unmount(shared.join(name).join("below"), UnmountFlags::DETACH).unwrap();
    }
    node.end("propagation");
}
