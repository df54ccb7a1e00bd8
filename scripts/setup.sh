#!/usr/bin/env bash
# Prepares a fresh Debian or Ubuntu machine (x86-64, Python >= 3.10) to build, run and test. Quick the second time.
#
#   scripts/setup.sh            what a build needs: cmake, nasm, a C++ compiler, Rust, libtorch
#   scripts/setup.sh --test     the same, and the Python packages that the interop tests want
#
#   CUDA=1               the full wheels of libtorch (GPU libraries, Python's torch); default where nvidia-smi answers
#   TORCH_PYTHON=PATH    a Python that already has PyTorch 2.11.0: nothing of libtorch is fetched
set -euo pipefail
cd "$(dirname "$0")/.."

TORCH=2.11.0
RUST=1.95.0
export PATH="$HOME/.cargo/bin:$PATH"

say() { printf 'set-up: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then set -- "$@"; else set -- sudo "$@"; fi
    say "runs: $*"
    "$@"
}

system_packages() {
    local missing=()
    command -v cmake >/dev/null || missing+=(cmake)
    command -v nasm >/dev/null || missing+=(nasm)
    command -v c++ >/dev/null || missing+=(g++)
    command -v curl >/dev/null || missing+=(curl ca-certificates)
    command -v python3 >/dev/null || missing+=(python3)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    # GNU tar reads compressed shards through it.
    [ "${1:-}" != --test ] || command -v zstd >/dev/null || missing+=(zstd)
    [ ${#missing[@]} = 0 ] && return
    command -v apt-get >/dev/null || die "please install ${missing[*]}: this script knows apt-get alone"
    as_root apt-get update -qq || die "the package lists could not be fetched (needed: ${missing[*]}): is there a network?"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        die "these packages could not be fetched: ${missing[*]}: is there a network?"
}

rust() {
    local have
    have=$(cargo --version 2>/dev/null | cut -d' ' -f2 || true)
    [ -n "$have" ] && [ "$(printf '%s\n%s\n' "$RUST" "$have" | sort -V | head -1)" = "$RUST" ] && return
    if command -v rustup >/dev/null; then
        say "Rust ${have:-is missing}: installs $RUST for this folder"
        rustup toolchain install "$RUST" --profile minimal -c clippy -c rustfmt >/dev/null ||
            die "Rust $RUST could not be fetched: is there a network?"
        rustup override set "$RUST" >/dev/null
    else
        say "cargo ${have:+is $have, }is needed in $RUST: installs rustup into $HOME/.cargo"
        local installer
        installer=$(mktemp)
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs -o "$installer" ||
            die "rustup could not be fetched: is there a network?"
        sh "$installer" -y -q --profile minimal -c clippy -c rustfmt --default-toolchain "$RUST" >/dev/null ||
            die "Rust $RUST could not be fetched: is there a network?"
        rm -f "$installer"
    fi
}

venv() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "python3 is older than 3.10: please install a newer one"
    [ -x .libtorch/venv/bin/pip ] && .libtorch/venv/bin/python -c '' 2>/dev/null && return
    rm -rf .libtorch/venv
    python3 -m venv .libtorch/venv || die "python3 -m venv failed: is python3-venv installed?"
}

pip() { .libtorch/venv/bin/pip install -q --disable-pip-version-check "$@"; }

# The kind of libtorch to have: "full" has all GPU libraries and Python's torch, "cpu" the two libraries that libtorch_cpu.so needs.
wanted() {
    if [ "${CUDA:-}" = 1 ]; then echo full
    elif [ "${CUDA:-}" != 0 ] && nvidia-smi >/dev/null 2>&1; then echo full
    else echo cpu; fi
}

libtorch() {
    local kind stamp=.libtorch/stamp python=.libtorch/venv/bin/python
    kind=$(wanted)
    if [ -n "${TORCH_PYTHON:-}" ]; then
        python=$TORCH_PYTHON kind=own
        "$python" -c "import torch, sys; sys.exit(not torch.__version__.startswith('$TORCH'))" ||
            die "TORCH_PYTHON=$TORCH_PYTHON has no PyTorch $TORCH"
    fi
    if [ -e .libtorch/link/lib/libtorch_cpu.so ]; then
        case "$(cat $stamp 2>/dev/null):$kind" in
            "$TORCH own $python:own" | "$TORCH full $python:full" | "$TORCH full $python:cpu" | "$TORCH cpu $python:cpu") return ;;
        esac
    fi
    if [ "$kind" = full ]; then
        say "fetches libtorch $TORCH with the GPU libraries (4.9 GB on disk)"
        pip "torch==$TORCH" 'nvidia-nvjpeg==13.0.*' || die "the wheels of torch $TORCH could not be fetched: is there a network?"
    elif [ "$kind" = cpu ]; then
        say "fetches libtorch $TORCH (1.3 GB on disk)"
        pip --no-deps "torch==$TORCH" 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cupti==13.0.*' ||
            die "the wheels of torch $TORCH could not be fetched: is there a network?"
    fi
    scripts/torch-link.sh "$python" .libtorch/link
    echo "$TORCH $kind $python" >$stamp
}

test_packages() {
    local stamp=.libtorch/requirements-test.txt
    cmp -s requirements-test.txt $stamp && return
    say "fetches the Python packages of the interop tests"
    pip -r requirements-test.txt || die "the packages of requirements-test.txt could not be fetched: is there a network?"
    cp requirements-test.txt $stamp
}

[ "$(uname -sm)" = "Linux x86_64" ] || die "this set-up is for Linux on x86-64, here is $(uname -sm)"
mkdir -p .libtorch
system_packages "$@"
rust
venv
libtorch
if [ "${1:-}" = --test ]; then test_packages; fi
say "ready"
