# The CRI's own suite, against a daemon of its own; prints as a test program does. The variables are set by the lines above.
# shellcheck disable=SC2154
out=$TMPDIR/conformance
mkdir -p "$out"
focus=()
case ${1:-} in -* | '') ;; *) focus=("-ginkgo.focus=$1") ;; esac
if ! "$testkit" conformance --critest "$critest" --berth "$berth" --out "$out" -- "${focus[@]}"; then
    tail -n 100 "$out/daemon.log" "$out/critest.log" 2>/dev/null
    echo 'test conformance ... FAILED'
    echo 'test result: FAILED. 0 passed; 1 failed; 0 ignored'
    exit 1
fi
lists=(--report "$out/report.json" --confined)
if [ -n "${focus[0]:-}" ]; then lists+=(--focus "$1"); fi
# A spec that is not run would be read as a test that skips itself, and counted twice.
"$xtask" conformance "${lists[@]}" 2>&1 | sed -E \
    -e 's/^skipped: /not run: /' \
    -e 's/^failed: (conformance: .*): (.*)$/\1: \2\ntest \1 ... FAILED/' \
    -e 's/^conformance: ([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/test result: \1 passed; \2 failed; \3 ignored/'
