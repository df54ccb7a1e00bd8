"""What writing checkpoints costs a run: how long training stands still, and the memory it takes.

    benches/save.py FOLDER target/release/mugs-pipeline train --data_path SET --save_every_steps 2 --max_steps 8 ...

FOLDER becomes --output_dir. The peak of resident memory is set back when a checkpoint is begun, so it is that of writing.
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
    """Resident memory before and the peak while writing, of each checkpoint."""
    saves = []
    while run.poll() is None:
        if under_way(folder):
            with open(f"/proc/{run.pid}/clear_refs", "w") as peak:
                peak.write("5")
            before, peak = resident(run.pid, "VmRSS"), 0.0
            while run.poll() is None and under_way(folder):
                peak = max(peak, resident(run.pid, "VmHWM"))
                time.sleep(0.002)
            saves.append((before, peak))
        time.sleep(0.001)
    return saves


def main():
    folder, command = sys.argv[1], sys.argv[2:]
    os.makedirs(folder, exist_ok=True)
    environment = {**os.environ, "MUGS_LOG": "debug"}
    with open(os.path.join(folder, "debug.log"), "w+") as log:
        run = subprocess.Popen([*command, "--output_dir", folder], stderr=log, env=environment)
        saves = watch(run, folder)
        log.seek(0)
        said = log.read()
    seconds = re.findall(r"checkpoint of step \d+ took ([\d.]+) s", said)
    size = os.path.getsize(os.path.join(folder, "checkpoint.pth")) / 2**20
    print(f"checkpoint.pth: {size:.0f} MiB")
    for (before, peak), took in zip(saves, seconds):
        print(f"{took} s, {size / float(took):.0f} MiB/s; resident before {before:.0f} MiB, at most {peak:.0f} MiB")


if __name__ == "__main__":
    main()
