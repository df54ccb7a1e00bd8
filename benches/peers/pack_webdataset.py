#!/usr/bin/env python3
"""What a webdataset user would run to pack class folders: its ShardWriter, samples of jpg and cls in shuffled order.

Like our packer it brings what it wrote to the disk. Needs: webdataset.

  pack_webdataset.py FOLDER DESTINATION [--samples-per-shard 1000]
"""
import argparse
import os
import pathlib
import random

from webdataset import ShardWriter


def sync(path):
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder", type=pathlib.Path)
    ap.add_argument("destination", type=pathlib.Path)
    ap.add_argument("--samples-per-shard", type=int, default=1000)
    args = ap.parse_args()
    names = sorted(entry.name for entry in os.scandir(args.folder) if entry.is_dir())
    pictures = [(entry.path, f"{name}_{entry.name.rpartition('.')[0]}", label)
                for label, name in enumerate(names) for entry in os.scandir(args.folder / name)]
    random.Random(0).shuffle(pictures)
    args.destination.mkdir()
    pattern = str(args.destination / "train-%06d.tar")
    with ShardWriter(pattern, maxcount=args.samples_per_shard, verbose=0) as writer:
        for path, key, label in pictures:
            with open(path, "rb") as file:
                writer.write({"__key__": key.replace(".", "_"), "jpg": file.read(), "cls": label})
    # All at the end: by then the kernel has written most of it, which is kinder than a wait after each shard.
    for shard in sorted(args.destination.iterdir()):
        sync(shard)
    sync(args.destination)


if __name__ == "__main__":
    main()
