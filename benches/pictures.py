#!/usr/bin/env python3
"""The pictures that packers are timed on.

  pictures.py repeat FOLDER DESTINATION COUNT    copies the pictures of FOLDER's class folders, again and again, until there
                                                 are COUNT; prints their number and bytes
  pictures.py check FOLDER OUTPUT                whether the tars of OUTPUT (a tar, or a folder of tars) hold exactly the
                                                 pictures of FOLDER, each with its class: a `cls` member, or a folder name
"""
import collections
import hashlib
import json
import pathlib
import shutil
import sys
import tarfile


def classes(folder):
    return sorted(entry for entry in folder.iterdir() if entry.is_dir())


def repeat(folder, destination, count):
    pictures = [path for place in classes(folder) for path in sorted(place.iterdir()) if path.is_file()]
    if not pictures:
        sys.exit(f"{folder} has no class folders with pictures")
    size = 0
    for number in range(count):
        source, copy = pictures[number % len(pictures)], number // len(pictures)
        target = destination / source.parent.name / f"{source.stem}_{copy}{source.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        size += target.stat().st_size
    print(json.dumps(dict(items=count, bytes=size)))


def digest(data):
    return hashlib.blake2b(data, digest_size=16).digest()


def expected(folder):
    names = classes(folder)
    return collections.Counter(
        (digest(path.read_bytes()), label) for label, place in enumerate(names) for path in place.iterdir())


def samples(path, labels):
    """The digest and label of each picture in a tar."""
    pictures, given = {}, {}
    with tarfile.open(path) as tar:
        for member in tar:
            if not member.isfile():
                continue
            data = tar.extractfile(member).read()
            key, _, extension = member.name.rpartition(".")
            if extension == "cls":
                given[key] = int(data)
            else:
                pictures[key] = digest(data)
    for key, picture in pictures.items():
        yield picture, given[key] if key in given else labels[pathlib.PurePath(key).parent.name]


def check(folder, output):
    labels = {place.name: label for label, place in enumerate(classes(folder))}
    tars = sorted(output.glob("*.tar")) if output.is_dir() else [output]
    found = collections.Counter(sample for path in tars for sample in samples(path, labels))
    wanted = expected(folder)
    if found != wanted:
        wrong = (found - wanted).total(), (wanted - found).total()
        sys.exit(f"{output}: {wrong[0]} pictures that should not be there, {wrong[1]} missing")


def main():
    match sys.argv[1:]:
        case ["repeat", folder, destination, count]:
            repeat(pathlib.Path(folder), pathlib.Path(destination), int(count))
        case ["check", folder, output]:
            check(pathlib.Path(folder), pathlib.Path(output))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
