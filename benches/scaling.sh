#!/usr/bin/env bash
# Weak scaling over Gloo on this host: the same pictures per rank on 1, 2 and 4 ranks, one thread each.
#
#   benches/scaling.sh SET [STEPS]           SET = a shard set; STEPS = steps that are timed, after one that is not (default 4)
#   ARCH=vit_small BATCH=4 RANKS="1 2 4"     what each rank computes, and how many ranks
#   BUCKETS="25 100000"                      --bucket_mb; the large one sends nothing before the backward pass has ended
#   OPTIONS=...                              more options of train
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,8p' "$0"; exit 2; }
set_=$1 steps=${2:-4}
cd "$(dirname "$0")/.."
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release/mugs-pipeline
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
echo "ranks  bucket_mb  s/step  waiting  images/s"
for ranks in ${RANKS:-1 2 4}; do
    for bucket in ${BUCKETS:-25 100000}; do
        [ "$ranks" != 1 ] || [ "$bucket" = "${BUCKETS:-25}" ] || [ "$bucket" = 25 ] || continue
        MUGS_LOG=debug OMP_NUM_THREADS=1 "$bin" train --data_path "$set_" --output_dir "$dir/$ranks-$bucket" --arch "${ARCH:-vit_small}" \
            --batch_size_per_gpu "${BATCH:-4}" --nproc "$ranks" --threads 1 --num_workers 1 --epochs 100 --max_steps $((steps + 1)) \
            --bucket_mb "$bucket" --metrics_addr off --tensorboard_every 0 --keep 0 ${OPTIONS:-} >"$dir/log" 2>&1 ||
            { cat "$dir/log" >&2; exit 1; }
        # Rank 0's lines; the others log warnings alone.
        awk -v ranks="$ranks" -v bucket="$bucket" -v batch="${BATCH:-4}" '
            / step [0-9]+ took / {
                for (i = 1; i <= NF; i++) if ($i == "took") { step = $(i - 1); took = $(i + 1); wait = $(i + 3) }
                if (step > 1) { n++; sum += took; waited += wait }
            }
            END { printf "%5d  %9s  %6.3f  %5.1f %%  %8.2f\n", ranks, bucket, sum / n, 100 * waited / sum, ranks * batch * n / sum }' "$dir/log"
    done
done
