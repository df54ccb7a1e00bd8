"""What writing checkpoints costs a run: how long training stands still, and the memory it takes.

    benches/save.py FOLDER target/release/mugs-pipeline train --data_path SET --save_every_steps 2 --max_steps 8 ...

FOLDER becomes --output_dir. Checkpoints are written while steps run, so the peak of resident memory until the first one is
held against the peak at the end.
"""

import os
import re
import subprocess
import sys
import time


def under_way(folder):
    return any(name.startswith(".checkpoint-") for name in os.listdir(folder))


def resident(pid, key):
    """A field of the process's status, in MiB; 0 when it has ended."""
    with open(f"/proc/{pid}/status") as status:
        found = re.search(key + r":\s+(\d+)", status.read())
    return int(found[1]) / 1024 if found else 0.0


def watch(run, folder):
    """Peaks of resident memory until the first checkpoint was begun, and at the end, in MiB."""
    without = peak = 0.0
    while run.poll() is None:
        now = resident(run.pid, "VmHWM")
        if not without and under_way(folder):
            without = max(now, peak)
        peak = max(now, peak)
        time.sleep(0.002)
    return without, peak


def main():
    folder, command = sys.argv[1], sys.argv[2:]
    os.makedirs(folder, exist_ok=True)
    environment = {**os.environ, "MUGS_LOG": "debug"}
    with open(os.path.join(folder, "debug.log"), "w+") as log:
        run = subprocess.Popen([*command, "--output_dir", folder], stderr=log, env=environment)
        without, peak = watch(run, folder)
        log.seek(0)
        said = log.read()
    saves = re.findall(r"on the disk after ([\d.]+) s, ([\d.]+) s of which training waited", said)
    size = os.path.getsize(os.path.join(folder, "checkpoint.pth")) / 2**20
    print(f"checkpoint.pth: {size:.0f} MiB")
    for took, waited in saves:
        print(f"on the disk after {took} s, {size / float(took):.0f} MiB/s; training waited {waited} s")
    print(f"peak of resident memory without writing {without:.0f} MiB, with it {peak:.0f} MiB")


if __name__ == "__main__":
    main()
