#!/usr/bin/env python3
"""Iterates over a tar file as Python programs do; the same work and the same line as shards/examples/iterate_tar.rs.

  iterate_tar.py TAR touch|checksum PASSES READER

READER is one of
  spdl-map     spdl.io.iter_tarfile over a memory map: no copy, its fastest way
  spdl-file    spdl.io.iter_tarfile over an open file, as its documentation shows for files
  spdl-bytes   spdl.io.iter_tarfile over the whole file read into memory
  webdataset   webdataset.WebDataset, which groups members into samples
  tarfile      Python's own

Needs: spdl-io and xxhash, or webdataset and xxhash. One thread.
"""
import json
import mmap
import sys
import tarfile
import time

from xxhash import xxh3_64_intdigest


def spdl_map(path):
    from spdl.io import iter_tarfile

    with open(path, "rb") as file:
        yield from iter_tarfile(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


def spdl_file(path):
    from spdl.io import iter_tarfile

    with open(path, "rb") as file:
        yield from iter_tarfile(file)


def spdl_bytes(path):
    from spdl.io import iter_tarfile

    with open(path, "rb") as file:
        data = file.read()
    yield from iter_tarfile(data)


def webdataset(path):
    from webdataset import WebDataset

    for sample in WebDataset(path, shardshuffle=False, empty_check=False):
        yield sample["__key__"], sample["jpg"]


def python_tarfile(path):
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            yield member.name, tar.extractfile(member).read()


READERS = {"spdl-map": spdl_map, "spdl-file": spdl_file, "spdl-bytes": spdl_bytes, "webdataset": webdataset,
           "tarfile": python_tarfile}


def touch(members):
    count = size = check = 0
    for _, data in members:
        count += 1
        size += len(data)
        check += len(data) + data[0] + data[-1]
    return count, size, check


def checksum(members):
    count = size = check = 0
    for _, data in members:
        count += 1
        size += len(data)
        check += xxh3_64_intdigest(data)
    return count, size, check % 2**64


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    path, work, passes, reader = sys.argv[1:]
    work, reader = {"touch": touch, "checksum": checksum}[work], READERS[reader]
    first, seconds = work(reader(path)), []
    for _ in range(int(passes)):
        start = time.perf_counter()
        read = work(reader(path))
        seconds.append(time.perf_counter() - start)
        if read != first:
            sys.exit(f"{path} changed while it was read")
    print(json.dumps(dict(zip(("members", "bytes", "check"), first), seconds=seconds)))


if __name__ == "__main__":
    main()
