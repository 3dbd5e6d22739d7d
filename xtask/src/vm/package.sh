# The Debian package in a machine of its own: installed, upgraded under a running pod, removed, purged.
# Prints as a test program does. The package lies beside this script, as berth.deb.
deb=$(dirname "$0")/berth.deb
# What is written lies on a disk here, which hides the list of the packages that are installed.
if [ ! -e /var/lib/dpkg/status ]; then
    umount /var/lib
    cp -a /var/lib/dpkg /mnt/lib/
    mount --bind /mnt/lib /var/lib
fi
passed=0
failed=0

check() {
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "test package::$name ... ok"
    else
        failed=$((failed + 1))
        echo "test package::$name ... FAILED"
    fi
}

# Where systemd runs, the unit starts the daemon; else what the unit says is started here.
systemd() { [ -d /run/systemd/system ]; }
answers() {
    for _ in $(seq 600); do
        berth --no-autostart pods >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    return 1
}
serve() {
    if systemd; then
        systemctl enable --now berth.service && answers || { journalctl -u berth --no-pager; return 1; }
        daemon=$(systemctl show -P MainPID berth.service)
        return
    fi
    $(sed -n 's/^ExecStart=//p' /lib/systemd/system/berth.service) >>"$TMPDIR/daemon.log" 2>&1 &
    daemon=$!
    answers || { cat "$TMPDIR/daemon.log"; return 1; }
}
stop() { if systemd; then systemctl stop berth.service; else kill "$1"; fi; }
ended() { wait "$1" 2>/dev/null; ! kill -0 "$1" 2>/dev/null; }
# An upgrade restarts what its unit has started, and nothing else.
upgraded() { if systemd; then ended "$1" && answers; else kill -0 "$1"; fi; }
# Pods and their shims lie outside the unit's own group.
apart() { ! systemd || [ "$(systemctl show -P TasksCurrent berth.service)" -gt 0 ] &&
    ! grep -q berth.service "/proc/$process/cgroup" "/proc/$(pgrep -x berth-shim)/cgroup"; }
no_units() { ! systemd || [ -z "$(systemctl list-units --all --plain --no-legend 'berth-*' 'berth.slice')" ]; }
pod_process() { pgrep -x berth-demo; }
same_process() { [ -n "$process" ] && [ "$(pod_process)" = "$process" ]; }
files() {
    for file in /usr/bin/berth /lib/systemd/system/berth.service /etc/berth/config.toml \
        /usr/share/man/man1/berth.1.gz /usr/share/man/man1/berth-serve.1.gz \
        /usr/share/bash-completion/completions/berth /usr/share/zsh/vendor-completions/_berth \
        /usr/share/fish/vendor_completions.d/berth.fish; do
        dpkg -S "$file" >/dev/null && { [ -e "$file" ] || echo "$file" | grep -q /usr/share/man; } || return 1
    done
}
nothing_left() {
    ! dpkg -s berth >/dev/null 2>&1 && [ ! -e /usr/bin/berth ] && [ ! -e /etc/berth ] &&
        [ ! -e /lib/systemd/system/berth.service ] && [ ! -e /var/lib/berth ] && [ ! -e /run/berth ]
}

check installs dpkg -i "$deb"
check has_its_files files
check unit_is_right systemd-analyze verify --man=no /lib/systemd/system/berth.service
check daemon_starts serve
check pod_runs berth run -d --name web berth.local/demo:latest
process=$(pod_process)
check pod_is_apart apart
check configuration_is_changed sh -c "echo '# of the operator' >>/etc/berth/config.toml"
check upgrades dpkg -i --force-confdef --force-confold "$deb"
check upgrade_keeps_the_pod same_process
check upgrade_restarts_what_its_unit_started upgraded "$daemon"
if systemd; then daemon=$(systemctl show -P MainPID berth.service); fi
stop "$daemon"
check daemon_ends ended "$daemon"
check daemon_starts_again serve
check restart_keeps_the_pod same_process
check restart_knows_the_pod sh -c 'berth ps | grep -q running'
check configuration_is_kept grep -q 'of the operator' /etc/berth/config.toml
check removes dpkg -r berth
check removal_ends_the_daemon ended "$daemon"
check removal_keeps_the_pod same_process
check purges dpkg -P berth
check purge_keeps_what_a_pod_runs_from test -d /run/berth/pods
check installs_again dpkg -i "$deb"
check removal_of_pods berth purge --yes
check pod_is_gone sh -c '! pgrep -x berth-demo'
check no_unit_is_left no_units
check purges_again dpkg -P berth
check purge_leaves_nothing nothing_left
echo "test result: $passed passed; $failed failed; 0 ignored"
[ "$failed" = 0 ]
