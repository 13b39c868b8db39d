#!/bin/sh
# The whole lineage of weights/alpaca and weights/mini, from the texts in data/ to model folders:
# five members from random weights, three by the stories alone and two that read children's books
# beside them at first; two students of the members' mean prediction; Alpaca, a student of these
# two; and mini, a student of Alpaca.
#
#   train/recipes/alpaca.sh FOLDER [OPTION...]
#
# FOLDER gets data, books, runs and models. The options go to every `alpaca-train fit`:
# `--threads 16`, `--numeric f32` for a CPU without BF16, or `--device cuda` with
# ALPACA_BIN=build/cuda/release (`make CUDA=1 BUILD=build/cuda`). The same command goes on where it
# was interrupted. ALPACA_BIN is the folder of the binaries (build/release, which `make` fills),
# SHARE the share of the steps to do (a rehearsal: SHARE=0.001).
#
# The weights that ship came from this lineage on one H200 (`--device cuda`) in 9 minutes, members,
# then students, running at once as processes that shared the card (MPS). One after the other, as
# here, it is some 11 minutes there, and on two cores some 45 to 85 hours (both computed).
set -eu

[ $# -ge 1 ] || {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
    exit 2
}
root=$(CDPATH='' cd "$(dirname "$0")/../.." && pwd -P)
train=${ALPACA_BIN:-$root/build/release}/alpaca-train
share=${SHARE:-1}
folder=$1
shift
models=$folder/models
books=$folder/books/train.txt
tokenizer=$root/weights/alpaca/tokenizer.model # the vocabulary stays what it is

steps() { awk -v n="$1" -v share="$share" 'BEGIN { n = int(n * share); print n < 1 ? 1 : n }'; }

# All else is the recipe that `alpaca-train fit` has by default (docs/training.md).
fit() { # NAME PRESET STEPS OPTION...
    name=$1 preset=$2 count=$(steps "$3")
    shift 3
    echo "== $name"
    "$train" fit --preset "$preset" --steps "$count" --numeric bf16 --valid-every 700 \
        --train "$folder/data/train.txt" --valid "$folder/data/valid.txt" --tokenizer "$tokenizer" \
        --run "$folder/runs/$name" --out "$models/$name" "$@"
}

[ -f "$folder/data/valid.txt" ] ||
    "$train" prepare "$root/data/tinystories-train.jsonl.xz" \
        "$root/data/tinystories-more.jsonl.xz" \
        --valid "$root/data/tinystories-valid.jsonl.xz" --out "$folder/data"
[ -f "$books" ] ||
    "$train" prepare "$root/data/children-books.jsonl.xz" --out "$folder/books"

fit member-1 alpaca 2800 --seed 1 "$@" # 27 million tokens
fit member-2 alpaca 2800 --seed 2 "$@"
fit member-3 alpaca 2800 --seed 3 "$@"
fit member-4 alpaca 3500 --seed 4 --mix "$books:0.5:0.5" "$@" # 34 million
fit member-5 alpaca 3500 --seed 5 --mix "$books:0.5:0.5" "$@"

members=$models/member-1,$models/member-2,$models/member-3,$models/member-4,$models/member-5
fit student-1 alpaca 6200 --seed 11 --dropout 0.05 --teacher "$members" "$@" # 60 million
fit student-2 alpaca 6200 --seed 12 --dropout 0.05 --teacher "$members" \
    --mix "$books:0.3:0.5" "$@"

fit alpaca alpaca 12400 --seed 13 --teacher "$models/student-1,$models/student-2" \
    --mix "$books:0.3:0.5" "$@" # 119 million
fit mini mini 6400 --seed 21 --dropout 0 --teacher "$models/alpaca" \
    --mix "$books:0.3:0.5" "$@" # 61 million
