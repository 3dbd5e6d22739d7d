# A host as distributions set it up: cgroup v2 alone, the usual mounts, a disk for what is written. Then
# the programs, and the end of the machine. An overlay as the root's takes no overlay's changes, so what
# tests write is on the disk.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
dir=$1
if [ ! -d /run/systemd/system ]; then
    mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
    mount -t securityfs securityfs /sys/kernel/security
    mount -t tmpfs -o mode=755 run /run
    mkdir -p /dev/pts /dev/shm /dev/mqueue
    mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
    mount -t tmpfs -o mode=1777 shm /dev/shm
    mount -t mqueue mqueue /dev/mqueue
fi
mount -t ext4 /dev/vda /mnt
mkdir -p /mnt/tmp /mnt/lib
mount --bind /mnt/lib /var/lib
mount --make-rshared /
ip link set lo up
hostname debian
ulimit -n 65536
# Everything is built; a test that would build asks this.
export TMPDIR=/mnt/tmp CARGO=/bin/true RUST_BACKTRACE=0
echo "kernel $(uname -r), cgroup v2 with $(cat /sys/fs/cgroup/cgroup.controllers)"
echo "security modules: $(cat /sys/kernel/security/lsm)"
echo "first process: $(cat /proc/1/comm)"
while read -r place program filters; do
    cd "$place" || continue
    export CARGO_MANIFEST_DIR=$place
    echo "     Running ${program##*/}"
    # shellcheck disable=SC2086 # one word for each filter
    "$program" $filters --color=never --test-threads=2 --show-output </dev/null
done <"$dir/programs"
sync
echo o >/proc/sysrq-trigger
exec sleep 60
