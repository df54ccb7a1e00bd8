#!/usr/bin/env bash
# Lays out a link folder from a Python that has torch, so that one binary serves hosts with and without GPUs (docs/setup.md).
#
#   scripts/torch-link.sh PYTHON DIR
set -euo pipefail
python=$1
dir=$2
torch=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/torch
[ -e "$torch/lib/libtorch_cpu.so" ] || { echo "no libtorch_cpu.so in $torch/lib: $python has no torch" >&2; exit 1; }
rm -rf "$dir"
mkdir -p "$dir/lib"
ln -s "$torch/include" "$dir/include"
for library in "$torch"/lib/libc10.so "$torch"/lib/libtorch_cpu.so "$torch"/lib/libgomp*.so*; do
    [ -e "$library" ] && ln -s "$library" "$dir/lib/"
done
# The libtorch.so of a CUDA build needs libtorch_cuda.so; the linker is given the CPU library alone.
echo 'INPUT(-ltorch_cpu)' >"$dir/lib/libtorch.so"
echo 2.11.0 >"$dir/build-version"
