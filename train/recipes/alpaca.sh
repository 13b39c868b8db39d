#!/bin/sh
# The whole lineage of weights/alpaca and weights/mini, from the texts in data/ to model folders:
# five members from random weights, three by the stories alone and two that read children's books
# beside them at first; two students of the members' mean prediction; a third of these two; three
# more of that one, two of which read also what it writes; Alpaca, a student of those three; and
# mini, a student of Alpaca.
#
#   train/recipes/alpaca.sh FOLDER [OPTION...]
#
# FOLDER gets data, books, tales, runs and models. Curl is needed. The options go to every
# `alpaca-train fit`: `--threads 16`, `--numeric f32` for a CPU without BF16, or `--device cuda`
# with ALPACA_BIN=build/cuda/release (`make CUDA=1 BUILD=build/cuda`). The same command goes on
# where it was interrupted. ALPACA_BIN is the folder of the binaries (build/release, which `make`
# fills), SHARE the share of steps and tales to do (a rehearsal: SHARE=0.001).
#
# The weights that ship came from this lineage on H200 cards (`--device cuda`) in 16 minutes: there
# the members, students 1 and 2, and students 4 to 6 ran at once, as processes that shared the card
# (MPS). One after the other, as here, it is some 20 minutes there, and on two cores some 85 to 160
# hours (both computed).
set -eu

[ $# -ge 1 ] || {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
    exit 2
}
root=$(CDPATH='' cd "$(dirname "$0")/../.." && pwd -P)
bin=${ALPACA_BIN:-$root/build/release}
train=$bin/alpaca-train
share=${SHARE:-1}
folder=$1
shift
models=$folder/models
books=$folder/books/train.txt
tales=$folder/tales/train.txt
both=$folder/tales/with-stories.txt
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

fit student-3 alpaca 12400 --seed 13 --teacher "$models/student-1,$models/student-2" \
    --mix "$books:0.3:0.5" "$@" # 119 million

# Stories from nothing by the third student, one for each seed, from a server. (Of those that the
# students of the shipped weights read, the ones cut off at 256 tokens had been left out.)
write_tales() {
    mkdir -p "$folder/tales"
    "$bin/alpaca-server" --model "$models/student-3" --draft off --port 0 --no-access-log \
        >"$folder/tales/server" &
    server=$!
    trap 'kill "$server"' EXIT
    until address=$(grep -o 'http://[^ ]*' "$folder/tales/server" | head -n 1) &&
        [ -n "$address" ]; do
        kill -0 "$server"
        sleep 1
    done
    seq "$(steps 19839)" | xargs -P 32 -I SEED curl -sS --fail "$address/generate" -d \
        '{"prompt": "", "temperature": 1, "seed": SEED, "case": "lower"}' \
        >"$folder/tales/answers.jsonl"
    kill "$server"
    trap - EXIT
    "$train" prepare "$folder/tales/answers.jsonl" --valid-share 0 --out "$folder/tales"
}

[ -f "$tales" ] || write_tales
cat "$folder/data/train.txt" "$tales" >"$both"

fit student-4 alpaca 8000 --seed 31 --dropout 0 --teacher "$models/student-3" \
    --mix "$books:0.3:0.5" "$@" # 77 million
fit student-5 alpaca 8000 --seed 32 --dropout 0 --teacher "$models/student-3" \
    --mix "$books:0.3:0.5" --train "$both" "$@"
fit student-6 alpaca 8000 --seed 33 --dropout 0.05 --teacher "$models/student-3" \
    --mix "$books:0.3:0.5" --train "$both" "$@"

fit alpaca alpaca 13440 --seed 41 --dropout 0 \
    --teacher "$models/student-4,$models/student-5,$models/student-6" \
    --mix "$books:0.3:0.5" "$@" # 129 million
fit mini mini 13000 --seed 54 --dropout 0 --teacher "$models/alpaca" \
    --mix "$books:0.3:0.5" "$@" # 125 million
