#!/bin/sh
# Lets libFuzzer look for inputs that break a target; the last line is "N passed, N failed".
#
#   tests/fuzz/run.sh OUTDIR SECONDS TARGET...
#
# OUTDIR is what `make fuzzers` filled (build/fuzz), SECONDS the time for each target, two of which
# run at once. What is found that reaches new code stays in OUTDIR/corpus/TARGET, so that the next
# run goes on from there. An input that breaks a target lies in OUTDIR/crashes/TARGET-*; once its
# cause is mended it belongs into tests/fuzz/corpus/TARGET/, where every test run tries it again.
set -u
[ $# -ge 3 ] || {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
    exit 2
}
out=$(CDPATH='' cd "$1" && pwd -P) || exit 2
seconds=$2
shift 2
cd "$(dirname "$0")/../.." || exit 2

# Inputs travel through small files; memory is the place for them where there is some.
parent=${TMPDIR:-/tmp}
[ -w /dev/shm ] && parent=/dev/shm
TMPDIR=$(mktemp -d "$parent/alpaca-fuzz-XXXXXX") || exit 2
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$out/crashes" "$out/logs"

fuzz() { # TARGET; the exit status goes into OUTDIR/logs/TARGET.status
    mkdir -p "$out/corpus/$1"
    set -- "$1" "$out/corpus/$1" "tests/fuzz/corpus/$1" -max_total_time="$seconds" \
        -artifact_prefix="$out/crashes/$1-" -print_final_stats=1 -timeout=60 -rss_limit_mb=2048
    target=$1
    [ ! -e "tests/fuzz/$target.dict" ] || set -- "$@" "-dict=tests/fuzz/$target.dict"
    shift
    "$out/fuzz/$target" "$@" >"$out/logs/$target" 2>&1
    echo $? >"$out/logs/$target.status"
}

passed=0 failed=0
report() { # TARGET
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$out/logs/$1")
    if [ "$(cat "$out/logs/$1.status")" -eq 0 ] && [ "${runs:-0}" -gt 0 ]; then
        passed=$((passed + 1))
        cover=$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$out/logs/$1" | tail -n 1)
        echo "ok      $1: $runs inputs, $cover edges"
    else
        failed=$((failed + 1))
        tail -n 60 "$out/logs/$1"
        echo "FAILED  $1: the input is in $out/crashes/, the log in $out/logs/$1"
    fi
}

while [ $# -gt 0 ]; do
    first=$1 second=${2:-}
    fuzz "$first" &
    [ -z "$second" ] || fuzz "$second" &
    wait
    report "$first"
    [ -z "$second" ] || report "$second"
    shift
    [ $# -eq 0 ] || shift
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
