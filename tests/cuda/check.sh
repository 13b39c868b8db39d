#!/usr/bin/env bash
# Everything that needs an NVIDIA card, in one run: a verdict for each part, and one for all.
#
#   tests/cuda/check.sh [OUTDIR]
#
# OUTDIR is a folder that `make CUDA=1 BUILD=build/cuda tests` filled (default build/cuda/release);
# without binaries in it they are built first. ALPACA_CHECK_SECONDS (default 10) is how long each
# mark is measured. Logs stay in OUTDIR/cuda-check/. The last line is "PASSED" or "FAILED: parts".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
out=${1:-build/cuda/release}
seconds=${ALPACA_CHECK_SECONDS:-10}
failed=()

if [ ! -x "$out/tests/cuda/device_check" ] || [ ! -x "$out/alpaca-bench" ]; then
    make -s -j"$(nproc)" CUDA=1 BUILD="$(dirname "$out")" tests || exit 2
fi
logs=$out/cuda-check
rm -rf "$logs"
mkdir -p "$logs" || exit 2
export OPENBLAS_NUM_THREADS=1

verdict() { # NAME STATUS
    if [ "$2" -eq 0 ]; then
        echo "ok      $1"
    else
        echo "FAILED  $1 (its log: $logs/$1.log)"
        failed+=("$1")
    fi
}

part() { # NAME COMMAND...
    local name=$1
    shift
    "$@" >"$logs/$name.log" 2>&1
    verdict "$name" $?
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null ||
    echo "nvidia-smi is not here; the parts below say whether there is a card"

# ---- the numbers: against torch, and against the CPU's trainer ---------------
part parity-f32 "$out/tests/parity" --device cuda f32 tests/fixtures/torch/*.safetensors
part parity-bf16 "$out/tests/parity" --device cuda bf16 tests/fixtures/torch/*.safetensors
part kernels "$out/tests/cuda/device_check"

# ---- a short run, and one that is killed again and again ---------------------
prepare() {
    mkdir -p "$logs/data" &&
        xz -dc data/tinystories-train.jsonl.xz | sed -n '1,3000p' >"$logs/data/train.jsonl" &&
        xz -dc data/tinystories-valid.jsonl.xz >"$logs/data/valid.jsonl"
}

fit() { # NAME OPTION...
    local name=$1
    shift
    ${run_by:-} "$out/alpaca-train" fit --device cuda --preset mini \
        --train "$logs/data/train.jsonl" --valid "$logs/data/valid.jsonl" \
        --tokenizer weights/mini/tokenizer.model \
        --out "$logs/$name/model" --run "$logs/$name/run" --steps 200 \
        --batch-tokens 16000 --dtype f32 --valid-every 50 "$@"
}

# The loss of the first step and the best validation, which has to be well below it.
learns() {
    fit whole --checkpoint-every 3600 || return
    local best
    best=$(grep -o 'best validation loss [0-9.]*' "$logs/short-run.log" | tail -n 1 |
        grep -o '[0-9.]*$')
    echo "best validation loss: $best nats per token"
    awk -v best="$best" 'BEGIN { exit !(best > 1 && best < 4.5) }'
}

# Killed with SIGKILL at random moments until it is done; the weights must be those of the run
# that nobody killed.
survives() {
    local kills=0 pid
    mkdir -p "$logs/killed"
    while :; do
        (run_by="exec"; fit killed --checkpoint-every 0) & # exec: the pid is the trainer's own
        pid=$!
        sleep "$((2 + RANDOM % 3)).$((RANDOM % 10))"
        if [ "$kills" -lt 4 ] && kill -KILL "$pid" 2>/dev/null; then
            kills=$((kills + 1))
            wait "$pid" 2>/dev/null
            continue
        fi
        wait "$pid" || return
        break
    done
    echo "killed $kills times" # never: it ended too soon, and nothing is shown
    [ "$kills" -gt 0 ] || return
    cmp "$logs/whole/model/model.safetensors" "$logs/killed/model/model.safetensors"
}

# The same command, twice: the same bits.
repeats() {
    fit again --checkpoint-every 3600 &&
        cmp "$logs/whole/model/model.safetensors" "$logs/again/model/model.safetensors"
}

# On the card and on the CPU a model has the same loss.
evaluates() {
    local card cpu
    local -a command=("$out/alpaca-train" evaluate --json --data "$logs/data/valid.jsonl")
    card=$("${command[@]}" --device cuda weights/mini) && cpu=$("${command[@]}" weights/mini) ||
        return
    echo "card $card"
    echo "cpu  $cpu"
    awk -v a="$(echo "$card" | grep -o '"loss":[0-9.]*' | cut -d: -f2)" \
        -v b="$(echo "$cpu" | grep -o '"loss":[0-9.]*' | cut -d: -f2)" \
        'BEGIN { d = a - b; exit !(a > 0 && d < 1e-4 && d > -1e-4) }'
}

# A student of two teachers learns too.
distills() {
    fit student --steps 50 --teacher weights/mini,weights/mini --checkpoint-every 3600
}

part data prepare
part short-run learns
part same-bits repeats
part kill-and-resume survives
part evaluation evaluates
part teachers distills

# ---- the marks ----------------------------------------------------------------
# The rate of the table's row, held against the least that it should be.
mark() { # NAME LEAST OPTION...
    local name=$1 least=$2
    shift 2
    "$out/alpaca-bench" train --device cuda --seconds "$seconds" "$@" >"$logs/$name.log" 2>&1 ||
        { verdict "$name" 1; return; }
    cat "$logs/$name.log"
    awk -v least="$least" '$1 == "mini" || $1 == "alpaca" { found = $5 >= least }
                           END { exit !found }' "$logs/$name.log"
    verdict "$name" $?
}

mark mark-alpaca-16000 800000 --preset alpaca --optimizer muon --batch-tokens 16000
mark mark-alpaca-64000 800000 --preset alpaca --optimizer muon --batch-tokens 64000
mark mark-mini-64000 3000000 --preset mini --optimizer muon --batch-tokens 64000

if [ ${#failed[@]} -eq 0 ]; then
    echo PASSED
else
    echo "FAILED: ${failed[*]}"
    exit 1
fi
