#!/usr/bin/env bash
# The whole job in small: draw a set, pack it, look at the crops, train for some minutes, measure before and after.
#
#   DEMO_DIR   where everything goes (default: demo)      DEMO_SEED   seed of the training (default: 0)
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${DEMO_DIR:-demo}
seed=${DEMO_SEED:-0}
bin=${CARGO_TARGET_DIR:-target}/release
say() { printf '\n== %s\n' "$*" >&2; }

if [ ! -e "$dir/pictures/.complete" ]; then
    say "draws 3000 pictures to learn from and 500 to be asked about"
    rm -rf "$dir/pictures"
    cargo run -q --release --locked -p mugs-image --example draw_demo_set -- "$dir/pictures"
    touch "$dir/pictures/.complete"
fi
for part in train val; do
    if [ ! -e "$dir/$part/manifest.json" ]; then
        say "packs $part"
        rm -rf "${dir:?}/$part"
        "$bin/mugs-shard" pack "$dir/pictures/$part" "$dir/$part" --name "$part" --samples-per-shard 500
        "$bin/mugs-shard" verify "$dir/$part"
    fi
done

# Settings for a run of minutes: a small network on small crops, a teacher that follows quickly, short queues.
options=(--data_path "$dir/train" --config examples/demo.toml --seed "$seed")
run=$dir/run-$seed
say "draws $dir/crops.png: what the network sees"
"$bin/mugs-pipeline" crops "${options[@]}" --out "$dir/crops.png"

say "asks the untrained network"
"$bin/mugs-pipeline" knn --untrained "${options[@]}" --val_path "$dir/val" | tee "$dir/before.txt" >&2
say "trains; goes on where it was stopped; meters on http://127.0.0.1:9400/metrics"
"$bin/mugs-pipeline" train "${options[@]}" --output_dir "$run"
say "asks the trained network"
"$bin/mugs-pipeline" knn --checkpoint "$run/checkpoint.pth" --val_path "$dir/val" >"$dir/after.txt"

echo
echo "k-NN of the teacher's class tokens, 10 classes (chance: 10 %)"
paste -d' ' <(tail -n +2 "$dir/before.txt" | awk 'NR==1{print "   k   before, top-1 %"} NR>1{printf "%4s %17s\n", $1, $2}') \
    <(tail -n +2 "$dir/after.txt" | awk 'NR==1{print "  after, top-1 %"} NR>1{printf "%16s\n", $2}')
echo
echo "crops: $dir/crops.png    run: $run (checkpoint.pth, log.txt, config.toml)"
