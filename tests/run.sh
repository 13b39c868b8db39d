#!/bin/sh
# Runs the tests of one build and sums them up: the last line is "N passed, N failed[, N skipped]".
#
#   tests/run.sh OUTDIR [KIND...]
#
# OUTDIR is a folder that `make tests` filled, such as build/release. The kinds, all by default:
#   c         every tests/*_test binary
#   parity    forward, backward and optimizers against numbers that PyTorch computed
#   python    everything that pytest finds under tests/; a path (tests/http) runs that part
#   browser   tests/browser, in Chromium
#   clients   tests/clients/*.mjs, through other projects' clients
# PYTHON is the Python that has pytest. With CI=true a kind whose tools are missing is a failure.
set -u

[ $# -ge 1 ] || {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
    exit 2
}
out=$(CDPATH='' cd "$1" && pwd -P) || exit 2
shift
[ $# -gt 0 ] || set -- c parity python browser clients
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-/usr/bin/python3}
ALPACA_BIN=$out
PYTHONDONTWRITEBYTECODE=1
export ALPACA_BIN PYTHONDONTWRITEBYTECODE

log=$(mktemp) || exit 2
trap 'rm -f "$log" "$log.last" "$log.status"' EXIT
trap 'exit 130' INT TERM
passed=0 failed=0 skipped=0 missing=

# The number before a word in the log's last line that has it ("40 passed" of pytest, and "# pass 3"
# of node the other way round), 0 when there is none.
number_before() {
    awk -v w="^$1" '{ for (i = 2; i <= NF; i++) if ($i ~ w) n = $(i - 1) }
                    END { print n + 0 }' "$log"
}
number_after() {
    awk -v w="$1" '{ for (i = 1; i < NF; i++) if ($i == w) n = $(i + 1) }
                   END { print n + 0 }' "$log"
}
# cmocka's "[  PASSED  ] 12 test(s)." or "[  FAILED  ] group: 1 test(s)", summed over all groups.
cmocka_count() {
    sed -n "s/^\[  $1 *\] \(.*[^0-9]\)\{0,1\}\([0-9]\{1,\}\) test(s).*/\2/p" "$log" |
        awk '{ n += $1 } END { print n + 0 }'
}

# Adds one program's results. A program that failed without saying which test (a crash, a
# sanitizer's report at exit) counts as one failed test.
add() { # NAME STATUS PASSED FAILED SKIPPED
    name=$1 status=$2 ok=$3 bad=$4 left=$5
    [ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
    if [ "$status" -eq 0 ] && [ "$ok" -eq 0 ]; then
        bad=1
        echo "$name ran no test"
    fi
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + left))
    if [ "$bad" -gt 0 ]; then
        echo "FAILED  $name: $ok passed, $bad failed (exit status $status)"
    else
        echo "ok      $name: $ok passed$([ "$left" -eq 0 ] || echo ", $left skipped")"
    fi
}

lack() { # KIND TOOL
    missing="$missing $1"
    echo "SKIPPED $1: no $2 here"
    if [ "${CI:-}" = true ]; then
        echo "        and CI=true, so this is a failure"
        failed=$((failed + 1))
    fi
}

run_c() {
    found=no
    for binary in "$out"/tests/*_test; do
        [ -x "$binary" ] || continue
        found=yes
        # As in the programs themselves (model/blas.h): OpenBLAS stays on the calling thread.
        OPENBLAS_NUM_THREADS=1 "$binary" >"$log" 2>&1
        status=$?
        [ $status -eq 0 ] || cat "$log"
        add "${binary##*/}" $status "$(cmocka_count PASSED)" "$(cmocka_count FAILED)" \
            "$(cmocka_count SKIPPED)"
    done
    [ $found = yes ] || add "c tests in $out/tests" 1 0 0 0
}

run_parity() {
    "$out/tests/parity" tests/fixtures/torch/*.safetensors >"$log" 2>&1
    status=$?
    cat "$log"
    add parity $status $((status == 0)) 0 0
    # The kernels for cards in emulation, where the build has them.
    [ -x "$out/tests/cuda_emulation_parity" ] || return
    for case in 'f32 one-head' 'bf16 eight-heads'; do
        OPENBLAS_NUM_THREADS=1 "$out/tests/cuda_emulation_parity" --device cuda "${case% *}" \
            "tests/fixtures/torch/${case#* }.safetensors" >"$log" 2>&1
        status=$?
        cat "$log"
        add "parity of the kernels for cards, $case" $status $((status == 0)) 0 0
    done
}

run_python() { # PATH
    if ! "$python" -c 'import pytest' 2>/dev/null; then
        lack "$1" "pytest for $python"
        return
    fi
    {
        "$python" -m pytest -q -rs --tb=short -p no:cacheprovider "$1" 2>&1 </dev/null
        echo $? >"$log.status"
    } | tee "$log"
    status=$(cat "$log.status")
    # pytest ends with "3 failed, 40 passed, 1 skipped, 2 errors in 2.10s".
    tail -n 1 "$log" >"$log.last" && mv "$log.last" "$log"
    add "pytest $1" "$status" "$(number_before passed)" \
        $(($(number_before failed) + $(number_before error))) "$(number_before skipped)"
}

run_node() { # KIND
    for tool in node npm; do
        command -v $tool >/dev/null 2>&1 || {
            lack "$1" $tool
            return
        }
    done
    # npm writes this file last, so an interrupted installation is done again.
    (
        cd "tests/$1" || exit 1
        { [ -e node_modules/.package-lock.json ] &&
            [ -z "$(find package-lock.json -newer node_modules/.package-lock.json)" ]; } ||
            npm ci --no-audit --no-fund --loglevel=error --prefer-offline \
                --fetch-retry-mintimeout=1000
    ) >"$log" 2>&1 </dev/null || {
        cat "$log"
        # A registry that answers has what is asked for, so the fault is ours.
        if npm ping --fetch-retries=0 >/dev/null 2>&1 </dev/null; then
            add "$1" 1 0 0 0
        else
            lack "$1" "package of npm's registry"
        fi
        return
    }
    (cd "tests/$1" && npm test --silent) >"$log" 2>&1 </dev/null
    status=$?
    cat "$log"
    # node's test runner ends with "# pass 3", "# fail 0", "# skipped 0".
    add "$1" $status "$(number_after pass)" "$(number_after fail)" "$(number_after skipped)"
}

run_browser() {
    command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || {
        lack browser chromium
        return
    }
    command -v emcc >/dev/null 2>&1 || lack 'the engine in the browser' emcc
    run_node browser
}

for kind in "$@"; do
    echo "== $kind"
    case $kind in
    c) run_c ;;
    parity) run_parity ;;
    python) run_python tests ;;
    browser) run_browser ;;
    clients) run_node clients ;;
    */*) run_python "$kind" ;;
    *)
        echo "no such kind of test: $kind"
        failed=$((failed + 1))
        ;;
    esac
done

[ -z "$missing" ] || echo "NOT RUN, for lack of tools:$missing"
summary="$passed passed, $failed failed"
[ $skipped -eq 0 ] || summary="$summary, $skipped skipped"
echo "$summary"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
