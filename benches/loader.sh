#!/usr/bin/env bash
# Crops for training, side by side on the same pictures: ours with 1 and 2 workers and on each path of the processor,
# the PyTorch loader, DALI where it is installed, decoding alone, and what each operator costs.
#
#   benches/loader.sh FOLDER [SECONDS] [ROUNDS]      FOLDER = class folders of pictures; default 15 s, 2 rounds
#
# The programs are taken in turns; of the rounds the medians are printed, as a Markdown table.
set -euo pipefail
folder=$(realpath "$1")
seconds=${2:-15}
rounds=${3:-2}
cd "$(dirname "$0")/.."
cargo build --release --locked -q -p mugs-shards -p mugs-pipeline
bin=${CARGO_TARGET_DIR:-target}/release
python=${BENCH_PYTHON:-.libtorch/venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$bin/mugs-shard" pack "$folder" "$work/set" >&2
results=$work/results
ours() { # name, arguments
    local name=$1; shift
    printf '%s\t%s\n' "$name" "$("$bin/mugs-pipeline" bench --data_path "$work/set" --batch_size_per_gpu 32 \
        --seconds "$seconds" --format json "$@")" >>"$results"
}
theirs() { # name, script, arguments
    local name=$1 script=$2; shift 2
    local line
    # It leaves its workers behind, who end a moment later.
    line=$("$python" "benches/peers/$script" --folder "$folder" --seconds "$seconds" "$@" | tail -n1)
    printf '%s\t%s\n' "$name" "$line" >>"$results"
    sleep 2
}
dali=no
"$python" -c 'import nvidia.dali' 2>/dev/null && dali=yes
for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    ours 'ours, 2 workers' --workers 2
    theirs 'PyTorch loader, 2 workers' loader_torch.py --workers 2
    ours 'ours, 1 worker' --workers 1
    for level in avx512 avx2 scalar; do
        if "$bin/mugs-pipeline" bench --data_path "$work/set" --simd "$level" --seconds 0.01 >/dev/null 2>&1; then
            ours "ours, 2 workers, --simd $level" --workers 2 --simd "$level"
        fi
    done
    ours 'ours, decode only, 2 workers' --workers 2 --decode_only
    theirs 'PyTorch loader, decode only' loader_torch.py --workers 2 --decode-only
    if [ "$dali" = yes ]; then
        theirs 'DALI, decode only' loader_dali.py --threads 2 --mode decode
        theirs 'DALI, 14 weak crops' loader_dali.py --threads 2 --mode multi
    fi
done
[ "$dali" = yes ] || echo "DALI is not installed for $python: left out" >&2
"$bin/mugs-pipeline" bench --data_path "$work/set" --workers 1 --batch_size_per_gpu 32 --seconds "$seconds" --profile \
    --format json >"$work/profile"
python3 benches/loader_table.py "$results" "$work/profile"
