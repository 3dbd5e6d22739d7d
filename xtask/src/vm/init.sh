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
for word in $($b cat /root/proc/cmdline); do
    case $word in berth.dir=*) dir=${word#berth.dir=} ;; esac
done
exec $b switch_root /root /bin/bash $dir/guest.sh $dir
