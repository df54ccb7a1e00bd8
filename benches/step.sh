#!/usr/bin/env bash
# The training step: ours and a PyTorch program in float32, one after the other, and their ratio.
#
#   [ARCH=vit_small] [BATCH=4] benches/step.sh SET [STEPS]      SET = a shard set; medians of the steps after the first
#   PRECISION=bf16 benches/step.sh SET                          ours multiplies in bfloat16, PyTorch in float32 still
set -euo pipefail
set_=$(realpath "$1")
steps=${2:-5}
arch=${ARCH:-vit_small}
batch=${BATCH:-4}
precision=${PRECISION:-fp32}
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/release
python=${BENCH_PYTHON:-.libtorch/venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
MUGS_LOG=mugs_pipeline=debug "$bin/mugs-pipeline" train --data_path "$set_" --output_dir "$work/run" --arch "$arch" \
    --batch_size_per_gpu "$batch" --precision "$precision" --num_workers 1 --max_steps "$((steps + 1))" --metrics_addr off 2>"$work/log"
theirs=$("$python" benches/peers/step_torch.py --arch "$arch" --batch "$batch" --steps "$steps")
tuned=$("$python" benches/peers/step_torch.py --arch "$arch" --batch "$batch" --steps "$steps" --tuned)
python3 - "$work/log" "$theirs" "$tuned" <<'P'
import json, re, statistics, sys
log = open(sys.argv[1]).read()
times = [float(t) for t in re.findall(r"took ([0-9.]+) s", log)][1:]
peak = max(float(m) for m in re.findall(r"peak memory ([0-9.]+) MiB", log))
ours = statistics.median(times)
print(f"ours    {ours:.2f} s a step, {peak:.0f} MiB")
for name, text in zip(("PyTorch", "tuned"), sys.argv[2:]):
    peer = json.loads(text)
    print(f"{name:<7} {peer['seconds_per_step']:.2f} s a step, {peer['peak_rss_mib']:.0f} MiB: "
          f"ours takes {ours / peer['seconds_per_step']:.2f} of its time, {peak / peer['peak_rss_mib']:.2f} of its memory")
P
