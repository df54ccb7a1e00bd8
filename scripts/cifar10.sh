#!/usr/bin/env bash
# CIFAR-10 on two processors: packs it, trains the recipe cifar10_small, and compares k-NN of the class tokens before, after
# each epoch and at the end with k-NN of raw pixels and of colour histograms.
#
#   scripts/cifar10.sh CIFAR10 [FOLDER]      CIFAR10 = a tar (or tar.zst) or a folder with train/<class>/ and test/<class>/ of pictures;
#                                            FOLDER  = where everything goes (default: cifar10)
#   SEEDS="0 1 2"                            seeds to train with (default: 0); what was interrupted is gone on with
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,7p' "$0"; exit 2; }
source_=$(realpath "$1")
dir=$(realpath -m "${2:-cifar10}")
cd "$(dirname "$0")/.."
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release
say() { printf '\n== %s\n' "$*" >&2; }
mkdir -p "$dir"

pictures=$source_
if [ -f "$source_" ]; then
    pictures=$dir/pictures
    if [ ! -e "$pictures/.complete" ]; then
        say "unpacks $source_"
        rm -rf "$pictures"
        mkdir "$pictures"
        case $source_ in *.zst) zstd -dc "$source_" ;; *) cat "$source_" ;; esac | tar -xf - -C "$pictures"
        touch "$pictures/.complete"
    fi
fi

# All 5000 pictures of each class to learn from; the first 500 by name are the known ones, and 200 of the others' are asked about.
take() { # PART CLASS-PICTURES NAME
    [ -e "$dir/$3/manifest.json" ] && return
    say "packs $3: $2 pictures of each class of $1"
    (cd "$pictures/$1" && for class in */; do find "$class" -type f | sort | sed -n "1,$2p"; done) >"$dir/$3.list"
    rm -rf "${dir:?}/$3" "$dir/$3.pictures"
    mkdir "$dir/$3.pictures"
    (cd "$pictures/$1" && tar -cf - -T "$dir/$3.list") | tar -xf - -C "$dir/$3.pictures"
    "$bin/mugs-shard" pack "$dir/$3.pictures" "$dir/$3" --name "$3"
}
take train 5000 train
take train 500 known
take test 200 asked

knn() { "$bin/mugs-pipeline" knn "$@" --data_path "$dir/known" --val_path "$dir/asked" --k 20 --format json; }
top1() { python3 -c 'import json, sys; print(round(json.load(sys.stdin)[0]["top1"], 2))'; }
results=$dir/results.txt curve=$dir/curve.txt
: >"$results"
: >"$curve"
for seed in ${SEEDS:-0}; do
    run=$dir/run-$seed
    before=$(knn --untrained --recipe cifar10_small --seed "$seed" | top1)
    say "trains with seed $seed"
    started=$SECONDS
    mkdir -p "$run"
    "$bin/mugs-pipeline" train --recipe cifar10_small --nproc 2 --threads 1 --num_workers 1 \
        --data_path "$dir/train" --output_dir "$run" --seed "$seed" --metrics_addr off
    # Of all starts that ended well: a finished run that is asked for again takes no time.
    echo $((SECONDS - started)) >>"$run/seconds"
    minutes=$(awk '{all += $1} END {print int(all / 60 + 0.5)}' "$run/seconds")
    say "measures the checkpoint of every epoch"
    after=
    for checkpoint in "$run"/checkpoint0*.pth; do
        after=$(knn --checkpoint "$checkpoint" | top1)
        printf ' %s' "$after" >>"$curve"
    done
    echo >>"$curve"
    echo "$seed $before $after $minutes" >>"$results"
done
say "measures raw pixels and colour histograms"
pixels=$(knn --baseline pixels | top1)
histogram=$(knn --baseline histogram | top1)
echo
echo "k-NN (k = 20), 5000 known pictures, 2000 asked about, top-1 %: raw pixels $pixels, colour histogram $histogram"
echo "k-NN (k = 20) of the teacher's class tokens before and after training, top-1 %"
awk 'BEGIN{print "seed   before   after   minutes"} {printf "%4s %8s %7s %9s\n", $1, $2, $3, $4}' "$results"
echo "after each epoch, a row for each seed"
cat "$curve"
