#!/usr/bin/env bash
# Verifying a set on one core from the page cache; beside it what reading the same bytes costs (cat).
#
#   benches/verify.sh SET [ROUNDS]        a shard set
#   benches/verify.sh FOLDER [ROUNDS]     class folders, whose pictures are copied until there are 20000, and packed
#
# TMPDIR names another disk for the set.
set -euo pipefail
source=$(realpath "$1")
rounds=${2:-3}
cd "$(dirname "$0")/.."
cargo build --quiet --release -p mugs-shards
bin=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
set_=$source log=$work/log
if [ ! -e "$source/manifest.json" ]; then
    set_=$work/set
    python3 benches/pictures.py repeat "$source" "$work/pictures" 20000 >&2
    "$bin/mugs-shard" pack "$work/pictures" "$set_" >&2
    rm -rf "$work/pictures"
    sync -f "$work"
fi
python3 benches/measure.py machine "$set_"
bytes=$(cat "$set_"/*.tar | wc -c) # and so they are in the page cache
for _ in $(seq "$rounds"); do
    python3 benches/measure.py run "$log" verify "$bin/mugs-shard" verify "$set_" --jobs 1
    python3 benches/measure.py run "$log" cat cat "$set_"/*.tar
done
python3 benches/measure.py table "$log" --bytes "$bytes" --ours verify
python3 - "$log" "$bytes" <<'P'
import json, statistics, sys
runs = [run for run in map(json.loads, open(sys.argv[1])) if run["name"] == "verify"]
cpu = statistics.median(run["user"] + run["system"] for run in runs)
print(f"verify: {int(sys.argv[2]) / cpu / 1e9:.2f} GB per CPU second")
P
