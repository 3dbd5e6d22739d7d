#!/bin/busybox sh
# The first process: from the initrd to the machine's own files, read-only below an overlay in memory.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod $module; done
$b mount -t virtiofs files /host -o ro || $b poweroff -f
$b mount -t tmpfs -o size=50% changes /changes
$b mkdir /changes/upper /changes/work
$b mount -t overlay root /root -o lowerdir=/host,upperdir=/changes/upper,workdir=/changes/work || $b poweroff -f
for dir in proc sys dev; do $b mount --move /$dir /root/$dir; done
systemd=
for word in $($b cat /root/proc/cmdline); do
    case $word in
    berth.dir=*) dir=${word#berth.dir=} ;;
    systemd.unit=*) systemd=yes ;;
    esac
done
if [ -z "$systemd" ]; then
    exec $b switch_root /root /bin/bash $dir/guest.sh $dir
fi
# The files may be those of a container; systemd would believe that it is in one, and not read the command line.
$b rm -f /root/.dockerenv /root/run/.containerenv
# A tmpfs that is there already is taken as it is.
$b mount -t tmpfs -o mode=755 run /root/run
$b mkdir -p /root/run/systemd/system
$b cp /root$dir/units/* /root/run/systemd/system/
exec $b switch_root /root /lib/systemd/systemd
