#!/usr/bin/env bash
# Crops for training: ours and the PyTorch loader, one after the other on the same pictures, and their ratio.
#
#   benches/loader.sh FOLDER [SECONDS]      FOLDER = class folders of pictures; 2 workers each
set -euo pipefail
folder=$(realpath "$1")
seconds=${2:-30}
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/release
python=${BENCH_PYTHON:-.libtorch/venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$bin/mugs-shard" pack "$folder" "$work/set" >&2
ours=$("$bin/mugs-pipeline" bench --data_path "$work/set" --workers 2 --batch_size_per_gpu 32 --seconds "$seconds" --format json)
theirs=$("$python" benches/peers/loader_torch.py --folder "$folder" --workers 2 --seconds "$seconds")
printf 'ours   %s\ntheirs %s\n' "$ours" "$theirs" >&2
python3 - "$ours" "$theirs" <<'P'
import json, sys
ours, theirs = (json.loads(text)["images_per_second"] for text in sys.argv[1:])
print(f"ours {ours:.1f} images/s, PyTorch loader {theirs:.1f} images/s, ratio {ours / theirs:.2f}")
P
