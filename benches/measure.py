#!/usr/bin/env python3
"""Times programs one after the other, and sets what they took side by side.

  measure.py run LOG NAME COMMAND...                        appends a line to LOG: seconds, CPU seconds, peak RSS
  measure.py table LOG --bytes N [--items N] --ours NAME    prints medians per name and ratios to ours
  measure.py machine FOLDER                                 says what this runs on; FOLDER's disk is the one used

Wall time runs from start to exit. CPU time and peak RSS are the kernel's for the command and what it waited for; an RSS
below 12 MiB is this program's own.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time


def run(log, name, command):
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{name} failed with {child.returncode}: {' '.join(command)}")
    line = dict(name=name, seconds=seconds, user=usage.ru_utime, system=usage.ru_stime, rss_mib=usage.ru_maxrss / 1024)
    with open(log, "a") as out:
        print(json.dumps(line), file=out)


def table(log, size, items, ours):
    runs = {}
    for line in map(json.loads, open(log)):
        runs.setdefault(line.pop("name"), []).append(line)
    medians = {name: {key: statistics.median(r[key] for r in rs) for key in rs[0]} for name, rs in runs.items()}
    for name, m in medians.items():
        fields = [f"{name:<12}", f"{m['seconds']:7.2f} s", f"{size / m['seconds'] / 1e6:8.0f} MB/s"]
        if items:
            fields.append(f"{items / m['seconds']:8.0f} images/s")
        fields.append(f"CPU {m['user']:6.2f} s user + {m['system']:5.2f} s system")
        fields.append(f"{max(r['rss_mib'] for r in runs[name]):6.0f} MiB")
        times = sorted(r["seconds"] for r in runs[name])
        print("  ".join(fields), f" [{times[0]:.2f} to {times[-1]:.2f} s]")
    for name, m in medians.items():
        if name != ours:
            print(f"{ours} has {m['seconds'] / medians[ours]['seconds']:.2f} times the speed of {name}")


def machine(folder):
    lines = open("/proc/cpuinfo").read().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True).stdout.strip()
    load = pathlib.Path("/proc/loadavg").read_text().split()[0]
    print(f"{len(os.sched_getaffinity(0))} cores of {model}, {kind}, load before the start {load}; page cache warm")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    does = ap.add_subparsers(dest="does", required=True)
    runs = does.add_parser("run")
    runs.add_argument("log")
    runs.add_argument("name")
    runs.add_argument("command", nargs=argparse.REMAINDER)
    tables = does.add_parser("table")
    tables.add_argument("log")
    tables.add_argument("--bytes", type=int, required=True)
    tables.add_argument("--items", type=int)
    tables.add_argument("--ours", required=True)
    does.add_parser("machine").add_argument("folder")
    args = ap.parse_args()
    if args.does == "run":
        run(args.log, args.name, args.command)
    elif args.does == "table":
        table(args.log, args.bytes, args.items, args.ours)
    else:
        machine(args.folder)


if __name__ == "__main__":
    main()
