#!/usr/bin/env bash
# Iterating over a local tar in the page cache: ours and the readers of peers/iterate_tar.py, in turns.
#
#   benches/iterate.sh [ROUNDS [read|written]]     members of 110 KB (5000) and of 1 KB (50000); 3 rounds of 5 passes
#
# `touch` is iteration alone: each member's length, first and last byte. `checksum` reads every byte: the XXH3 of each
# member. Before a time counts, all readers must have found the same members, bytes and sums.
#
# What a memory map costs depends on how the pages came into the cache: those that were read from the disk (the default;
# shards of a data set) are large and cheap to map, those `written` a moment ago piece by piece are small and dear.
set -euo pipefail
rounds=${1:-3}
pages=${2:-read}
cd "$(dirname "$0")/.."
cargo build --quiet --release -p mugs-shards --example iterate_tar
bin=${CARGO_TARGET_DIR:-target}/release/examples/iterate_tar
python=${BENCH_PYTHON:-.libtorch/venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 - "$work" <<'P'
import io, random, sys, tarfile
content = random.Random(0)
for size, count in ((110_000, 5000), (1000, 50000)):
    with tarfile.open(f"{sys.argv[1]}/{size}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(count):
            member = tarfile.TarInfo(f"sample-{number:06}.jpg")
            member.size = size
            tar.addfile(member, io.BytesIO(content.randbytes(size)))
P
sync -f "$work"
python3 benches/measure.py machine "$work"
if [ "$pages" = read ]; then
    for tar in "$work"/*.tar; do dd if="$tar" iflag=nocache count=0 status=none; done # out of the cache
    cat "$work"/*.tar >/dev/null
fi
for size in 110000 1000; do
    for task in touch checksum; do
        for _ in $(seq "$rounds"); do
            printf 'ours %s\n' "$("$bin" "$work/$size.tar" "$task" 5)"
            for reader in spdl-map spdl-file spdl-bytes webdataset tarfile; do
                printf '%s %s\n' "$reader" "$("$python" benches/peers/iterate_tar.py "$work/$size.tar" "$task" 5 "$reader")"
            done
        done >"$work/log"
        python3 - "$work/log" "$size" "$task" <<'P'
import json, statistics, sys
log, size, task = sys.argv[1:]
seconds, found = {}, set()
for line in open(log):
    name, _, text = line.partition(" ")
    run = json.loads(text)
    seconds.setdefault(name, []).extend(run.pop("seconds"))
    found.add(tuple(run.items()))
if len(found) != 1:
    sys.exit(f"the readers do not agree on what they read: {found}")
(_, members), (_, bytes_), _ = found.pop()
ours = statistics.median(seconds["ours"])
print(f"members of {size} bytes, {task}:")
for name, times in seconds.items():
    median = statistics.median(times)
    ratio = "" if name == "ours" else f"  ours has {median / ours:6.2f} times its speed"
    print(f"  {name:<11}{members / median:10.0f} members/s {bytes_ / median / 1e9:6.2f} GB/s{ratio}")
P
    done
done
