#!/usr/bin/env bash
# Packing class folders: ours, GNU tar and webdataset's ShardWriter, one after the other on the same pictures.
#
#   benches/pack.sh FOLDER [COUNT [ROUNDS]]     FOLDER's pictures are copied until there are COUNT (20000); 3 rounds
#
# All read from a warm page cache and end when what they wrote is on the disk. The first run of each is not timed: its
# output is read back and compared with the pictures. TMPDIR names another disk; 7 GB for 20000 pictures of ImageNet.
set -euo pipefail
folder=$(realpath "$1")
count=${2:-20000}
rounds=${3:-3}
cd "$(dirname "$0")/.."
cargo build --quiet --release -p mugs-shards
bin=${CARGO_TARGET_DIR:-target}/release
python=${BENCH_PYTHON:-.libtorch/venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pictures=$work/pictures out=$work/out log=$work/log
made=$(python3 benches/pictures.py repeat "$folder" "$pictures" "$count")
bytes=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["bytes"])' "$made")
python3 benches/measure.py machine "$work"

# The disk is quiet before each run: nothing is left to write, and what the last one wrote is gone.
pack() { # NAME LOG
    rm -rf "$out"
    sync -f "$work"
    case $1 in
        GNU-tar) set -- "$@" sh -c 'tar --sort=name -C "$1" -cf "$2" . && sync "$2" "$3"' sh "$pictures" "$out" "$work" ;;
        mugs-shard) set -- "$@" "$bin/mugs-shard" pack "$pictures" "$out" ;;
        ShardWriter) set -- "$@" "$python" benches/peers/pack_webdataset.py "$pictures" "$out" ;;
    esac
    python3 benches/measure.py run "$2" "$1" "${@:3}"
}

programs="GNU-tar mugs-shard ShardWriter"
for program in $programs; do
    pack "$program" /dev/null
    python3 benches/pictures.py check "$pictures" "$out"
done
for _ in $(seq "$rounds"); do
    for program in $programs; do pack "$program" "$log"; done
done
python3 benches/measure.py table "$log" --bytes "$bytes" --items "$count" --ours mugs-shard
