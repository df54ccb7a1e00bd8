"""The table of loader.sh: medians of the rounds, and the operators' shares. Arguments: results, profile."""
import json
import statistics
import sys

rows = {}
for line in open(sys.argv[1]):
    name, report, *_ = line.rstrip("\n").split("\t")
    rows.setdefault(name, []).append(json.loads(report))


def median(name, key):
    values = [report[key] for report in rows[name] if key in report]
    return statistics.median(values) if values else None


peer = median("PyTorch loader, 2 workers", "images_per_second")
decode = median("ours, decode only, 2 workers", "images_per_second")
print("| program | images/s | CPU s per 1000 images | times the PyTorch loader | MiB |\n|---|---|---|---|---|")
for name in rows:
    rate, cpu = median(name, "images_per_second"), median(name, "cpu_seconds_per_1000_images")
    ratio = f"{rate / peer:.2f}" if "decode" not in name else ""
    # The peers do not say; their two workers leave no processor idle.
    cpu = f"{cpu:.2f}" if cpu else f"{2000 / rate:.2f} (2 processors, always busy)"
    print(f"| {name} | {rate:.1f} | {cpu} | {ratio} | {median(name, 'peak_rss_mib') or 0:.0f} |")
print(f"\nAgainst our own decoding alone: {median('ours, 2 workers', 'images_per_second') / decode:.2f}")
for report in rows["ours, 2 workers"][:1]:
    print("By stage, CPU s per 1000 images: " + ", ".join(
        f"{stage['stage']} {stage['cpu_seconds_per_1000_images']:.2f}" for stage in report["stages"][:-1]))
profile = json.load(open(sys.argv[2]))
print(f"\n| operator ({profile['simd']}, 1 worker) | calls per image | us per call | ms per image | share |\n|---|---|---|---|---|")
for row in profile["operators"]:
    print(f"| {row['operator']} | {row['calls_per_image']:.2f} | {row['microseconds_per_call']:.1f} "
          f"| {row['milliseconds_per_image']:.3f} | {100 * row['share']:.1f} % |")
