# Where builds and environments lie: outside the clone, so that a second run, and another clone, find them warm.

cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ashlar
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
mkdir -p "$cache" "$CARGO_TARGET_DIR"

# One folder for what a run leaves behind; removed by `remove_work` from the caller's trap.
work=$(mktemp -d "${TMPDIR:-/tmp}/ashlar-test-XXXXXX")
remove_work() { rm -rf "$work"; }
