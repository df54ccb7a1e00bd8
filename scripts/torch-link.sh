#!/bin/sh
# Lays out .libtorch/link from a Python that has torch, so that one binary serves CPU and GPU hosts (docs/setup.md).
#   scripts/torch-link.sh PYTHON DIR
set -eu
python=$1
dir=$2
site=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
torch="$site/torch"
[ -e "$torch/lib/libtorch_cpu.so" ] || { echo "no libtorch_cpu.so under $torch/lib: this Python has no torch" >&2; exit 1; }
rm -rf "$dir"
mkdir -p "$dir/lib"
ln -s "$torch/include" "$dir/include"
ln -s "$torch/lib/libc10.so" "$torch/lib/libtorch_cpu.so" "$dir/lib/"
for gomp in "$torch"/lib/libgomp*.so*; do
    [ -e "$gomp" ] && ln -s "$gomp" "$dir/lib/"
done
# libtorch.so of a CUDA build needs libtorch_cuda.so; the linker is given the CPU library alone.
echo 'INPUT(-ltorch_cpu)' >"$dir/lib/libtorch.so"
echo 2.11.0 >"$dir/build-version"
