#!/bin/sh
# The whole lineage of weights/alpaca and weights/mini, from the stories in data/ to model folders:
# members from random weights, which differ in their seed alone; a student of their mean
# prediction, which is Alpaca; and a student of Alpaca, which is mini.
#
#   train/recipes/alpaca.sh FOLDER [OPTION...]
#
# FOLDER gets data, runs and models. The options go to every `alpaca-train fit`: `--device cuda`,
# `--threads 16`, `--numeric bf16`. The same command goes on where it was interrupted.
# ALPACA_BIN is the folder of the binaries, MEMBERS the number of members, SHARE the share of the
# steps to do (a rehearsal: SHARE=0.001).
set -eu

[ $# -ge 1 ] || {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
    exit 2
}
root=$(CDPATH='' cd "$(dirname "$0")/../.." && pwd -P)
train=${ALPACA_BIN:-$root/build/release}/alpaca-train
members=${MEMBERS:-4}
share=${SHARE:-1}
folder=$1
shift
tokenizer=$root/weights/alpaca/tokenizer.model # the vocabulary stays what it is

steps() { awk -v n="$1" -v share="$share" 'BEGIN { n = int(n * share); print n < 1 ? 1 : n }'; }

# All else is the recipe that `alpaca-train fit` has by default (docs/training.md).
fit() { # NAME PRESET STEPS OPTION...
    name=$1 preset=$2 count=$(steps "$3")
    shift 3
    echo "== $name"
    "$train" fit --preset "$preset" --steps "$count" \
        --train "$folder/data/train.txt" --valid "$folder/data/valid.txt" --tokenizer "$tokenizer" \
        --run "$folder/runs/$name" --out "$folder/models/$name" "$@"
}

[ -f "$folder/data/train.txt" ] ||
    "$train" prepare "$root/data/tinystories-train.jsonl.xz" \
        "$root/data/tinystories-more.jsonl.xz" \
        --valid "$root/data/tinystories-valid.jsonl.xz" --out "$folder/data"

teachers=
for seed in $(seq "$members"); do
    fit "member-$seed" alpaca 2800 --seed "$seed" "$@" # 27 million tokens
    teachers=$teachers${teachers:+,}$folder/models/member-$seed
done
fit alpaca alpaca 6200 --dropout 0.05 --seed 11 --teacher "$teachers" "$@" # 60 million
fit mini mini 6200 --dropout 0.05 --seed 12 --teacher "$folder/models/alpaca" "$@"
