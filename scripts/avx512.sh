#!/usr/bin/env bash
# Runs a statically linked test binary on an emulated processor that has AVX-512, where the real one has none: boots a
# small Linux in the PC emulator Bochs, prints what the binary printed, and exits with its status (124: not in time).
#
#   scripts/avx512.sh [--with PATH]... BINARY [ARGS...]
#
#   --with PATH      a file or folder the binary reads: it lies at the same absolute path in there
#   MUGS_*, PROPTEST_*, RUST_*   variables of these names are handed on
#   BOCHS            a Bochs 3.0 or newer, where `bochs-bin` is older (Debian 12) or has its slow debugger. From the
#                    sources of Debian's package (deb-src of Debian 13; two minutes):
#                    ./configure --enable-x86-64 --enable-avx --enable-evex --enable-all-optimizations --with-nogui
#                    make CXXFLAGS='-O2 -fno-strict-aliasing -fpermissive'; then BOCHS=.../bochs-3.0/bochs
#   AVX512_SECONDS   how long it may take (default: 3000)       AVX512_MIB   memory in there (default: 1024)
#
# A binary of this workspace, for example (rustc writes such a binary's path last):
#
#   export RUSTFLAGS='-C target-feature=+crt-static' CARGO_TARGET_DIR=target/static
#   cargo test --release -p mugs-simd --target x86_64-unknown-linux-gnu --no-run
#   MUGS_SIMD=avx512 scripts/avx512.sh target/static/x86_64-unknown-linux-gnu/release/deps/mugs_simd-…
#
# The emulator runs about a hundred million instructions a second, on one processor: few cases (PROPTEST_CASES=20), and
# timings mean nothing. Nothing is installed; the kernel is fetched once into target/avx512.
set -euo pipefail
say() { printf 'avx512: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

with=()
while [ "${1:-}" = --with ]; do
    [ $# -ge 2 ] || die "--with wants a path"
    with+=("$(realpath -e "$2")")
    shift 2
done
[ $# -ge 1 ] || die "which binary? usage: scripts/avx512.sh [--with PATH]... BINARY [ARGS...]"
binary=$(realpath -e "$1")
shift
here=$PWD
[ -z "${BOCHS:-}" ] || BOCHS=$(realpath -e "$BOCHS")
cd "$(dirname "$0")/.."
store=$PWD/target/avx512
bochs=${BOCHS:-bochs-bin}

is_static() {
    [[ $(ldd "$1" 2>&1 || true) =~ 'not a dynamic'|'statically linked' ]]
}

check_tools() {
    local missing=()
    command -v "$bochs" >/dev/null || missing+=(bochs)
    [ -n "${BOCHS:-}" ] || ls /usr/lib/*/bochs/plugins/libbx_term_gui.so >/dev/null 2>&1 || missing+=(bochs-term)
    [ -e /usr/share/bochs/BIOS-bochs-latest ] || missing+=(bochsbios)
    [ -e /usr/share/bochs/VGABIOS-lgpl-latest ] || missing+=(vgabios)
    [ -e /usr/lib/ISOLINUX/isolinux.bin ] || missing+=(isolinux)
    [ -e /usr/lib/syslinux/modules/bios/ldlinux.c32 ] || missing+=(syslinux-common)
    command -v xorriso >/dev/null || missing+=(xorriso)
    command -v cpio >/dev/null || missing+=(cpio)
    command -v script >/dev/null || missing+=(bsdutils)
    is_static "$(command -v busybox)" || missing+=(busybox-static)
    [ ${#missing[@]} = 0 ] || die "these Debian packages are missing: ${missing[*]}"
    local version
    version=$("$bochs" --help 2>&1 | sed -n 's/.*Bochs x86 Emulator \([0-9]*\).*/\1/p' | head -n1)
    [ "${version:-0}" -ge 3 ] || die "$bochs is older than 3.0, which cannot leave features out: set BOCHS (see the script's head)"
    is_static "$binary" ||
        die "$binary is not static: build it with RUSTFLAGS='-C target-feature=+crt-static'"
}

# Debian's kernel, unpacked and not installed.
fetch_kernel() {
    [ ! -e "$store/vmlinuz" ] || return 0
    local package fresh=$store/fetch
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n1)
    [ -n "$package" ] || die "apt knows no linux-image-cloud-amd64: run apt-get update"
    say "fetches $package"
    rm -rf "$fresh"
    mkdir -p "$fresh"
    (cd "$fresh" && apt-get download -qq "$package" && dpkg -x ./*.deb .) || die "$package could not be fetched"
    mv "$fresh"/boot/vmlinuz-* "$store/vmlinuz"
    rm -rf "$fresh"
}

# What Linux starts: the binary, then a line with its status. Draining the line before power-off keeps its last words.
write_init() {
    printf '#!/bin/sh\n/bin/busybox mount -t proc proc /proc\n/bin/busybox mount -t devtmpfs dev /dev\n'
    printf 'exec >/dev/ttyS0 2>&1 </dev/null\nexport HOME=/tmp\n'
    local name
    for name in $(compgen -e | grep -E '^(MUGS|PROPTEST|RUST)_'); do printf 'export %s=%q\n' "$name" "${!name}"; done
    printf '/bin/busybox mkdir -p %q && cd %q\n' "$here" "$here"
    printf 'echo avx512-begins\n/test'
    [ $# = 0 ] || printf ' %q' "$@"
    printf '\necho "avx512-status: $?"\n/bin/busybox stty -F /dev/ttyS0 115200\n/bin/busybox sleep 1\n'
    printf '/bin/busybox poweroff -f\n'
}

build_image() {
    local root=$run/root disk=$run/disk path
    mkdir -p "$root"/{bin,dev,proc,tmp} "$disk"
    cp "$(command -v busybox)" "$root/bin/busybox"
    ln -s busybox "$root/bin/sh"
    cp "$binary" "$root/test"
    strip -g "$root/test" 2>/dev/null || true
    for path in ${with[@]+"${with[@]}"}; do
        mkdir -p "$root$(dirname "$path")"
        cp -rL "$path" "$root$(dirname "$path")/"
    done
    write_init "$@" >"$root/init"
    chmod +x "$root/init"
    (cd "$root" && find . | cpio -o -H newc --quiet) >"$disk/initrd"
    cp "$store/vmlinuz" /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$disk/"
    printf 'default l\nprompt 0\nlabel l\n linux /vmlinuz\n initrd /initrd\n append %s\n' "$kernel_options" \
        >"$disk/isolinux.cfg"
    xorriso -as mkisofs -quiet -o "$run/disk.iso" -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 \
        -boot-info-table "$disk" 2>/dev/null || die "the disk image could not be made"
}

# The features taken away keep Linux from booting in this emulator, and no kernel of ours wants them.
kernel_options='console=ttyS0 quiet mitigations=off nokaslr nopti panic=-1 random.trust_cpu=on nopcid noinvpcid
    idle=poll clearcpuid=fsrm,rdpid,pku'
kernel_options=$(tr -s ' \n' ' ' <<<"$kernel_options")
write_machine() {
    local display=term
    [ -z "${BOCHS:-}" ] || display=nogui
    cat <<EOF
display_library: $display
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=corei7_icelake_u, count=1, ips=100000000, reset_on_triple_fault=0, exclude_features="rdpid,umip,pcid,pku,vmx"
memory: guest=${AVX512_MIB:-1024}, host=${AVX512_MIB:-1024}
pci: enabled=1, chipset=i440fx
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=$run/disk.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$run/serial.txt
clock: sync=none, time0=utc
log: $run/bochs.log
panic: action=fatal
error: action=report
info: action=ignore
EOF
}

boot() {
    local debugger=()
    # Debian's has a debugger, which waits to be told to go on.
    if [ -z "${BOCHS:-}" ]; then
        echo c >"$run/go"
        debugger=(-rc "$run/go")
    fi
    timeout -k 5 "${AVX512_SECONDS:-3000}" nice -n 10 script -qec \
        "$(printf '%q ' "$bochs" -q -f "$run/machine" ${debugger[@]+"${debugger[@]}"})" /dev/null \
        >"$run/screen.txt" 2>&1 </dev/null || true
}

check_tools
mkdir -p "$store"
fetch_kernel
run=$(mktemp -d "$store/run.XXXXXX")
trap 'rm -rf "$run"' EXIT
build_image "$@"
write_machine >"$run/machine"
touch "$run/serial.txt"
boot

tr -d '\r' <"$run/serial.txt" | sed -n '/^avx512-begins/,/^avx512-status/p' | sed '1d'
status=$(tr -d '\r' <"$run/serial.txt" | sed -n 's/^avx512-status: //p' | tail -n1)
if [ -z "$status" ]; then
    tail -n 20 "$run/serial.txt" >&2
    grep -ahE 'PANIC|malformed' "$run"/{bochs.log,screen.txt} >&2 || true
    say "the binary came to no end in there: too slow (AVX512_SECONDS), or Linux did not boot"
    exit 124
fi
exit "$status"
