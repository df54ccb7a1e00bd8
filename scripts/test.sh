#!/usr/bin/env bash
# Runs every test of the workspace, then prints how many golden cases ran and which tests were skipped.
# Arguments are passed to cargo test.
set -euo pipefail
cd "$(dirname "$0")/.."
export MUGS_TEST_TALLY="$PWD/target/tally"
rm -rf "$MUGS_TEST_TALLY"
mkdir -p "$MUGS_TEST_TALLY"

# The binaries first, so that end-to-end tests find them whatever cargo chooses to run first.
cargo build --release --locked --workspace --bins
status=0
cargo test --release --locked --workspace --no-fail-fast "$@" || status=$?

echo
echo "golden cases and faults:"
for record in "$MUGS_TEST_TALLY"/*; do
    [ -e "$record" ] || continue
    name=$(basename "$record")
    case "$name" in skipped-*) ;; *) printf '  %s  (%s)\n' "$(cat "$record")" "${name//-/ }" ;; esac
done
cat "$MUGS_TEST_TALLY"/skipped-* 2>/dev/null | sort | sed 's/^/  /' || true
exit "$status"
