# The Rust checks. Each counts as one, the tests as many as ran.

export CARGO_TERM_COLOR=never
export CARGO_TERM_PROGRESS_WHEN=never

# Ceph is a feature that needs librbd to link with. One set of features for all, so that everything is built once.
features=()
ceph_features=backup-cli/rbd,backup-rbd/link
has_librbd() { [ -f /usr/include/rbd/librbd.h ] && [ -f /usr/include/rados/librados.h ]; }
choose_features() {
  if $quick; then
    skip "Ceph: --quick builds and starts nothing of it"
  elif has_librbd; then
    features=(--features "$ceph_features")
  else
    skip "Ceph: to get it: apt-get install librbd-dev librados-dev   (Debian, Ubuntu; as root)"
  fi
}

# The committed bindings are those that bindgen makes; other headers than Ceph 16's are no proof.
librbd_bindings() {
  [ "${#features[@]}" -gt 0 ] || return 0
  section "Bindings of librbd"
  local log=$work/bindings.log status=0
  "$here/librbd-bindings" --check >"$log" 2>&1 || status=$?
  case $status in
    0) pass "bindings.rs is what bindgen makes of the headers" ;;
    3) skip "bindings of librbd: $(tail -n 1 "$log")" ;;
    *) cat "$log"; fail "bindings.rs differs from what bindgen makes" ;;
  esac
}

rust_lints() {
  section "Dependencies (Cargo.lock fits)"
  check "cargo fetch --locked" cargo fetch --locked --quiet
  section "Format"
  check "cargo fmt" cargo fmt --all --check
  section "Clippy"
  check "cargo clippy" cargo clippy --workspace "${features[@]+"${features[@]}"}" --all-targets --quiet -- -D warnings
  section "Documentation"
  check "cargo doc" env RUSTDOCFLAGS=-Dwarnings cargo doc --workspace "${features[@]+"${features[@]}"}" --no-deps --quiet
}

# count_libtest LOG NAME STATUS: adds up the "test result:" lines of cargo test.
count_libtest() {
  local p f i
  read -r p f i < <(awk '/^test result:/ { p += $4; f += $6; i += $8 } END { print p + 0, f + 0, i + 0 }' "$1")
  count_tests "$2" "$3" "$p" "$f" "$i"
}

count_tests() {
  local name=$1 status=$2 p=$3 f=$4 i=$5
  # A test program that does not compile or is killed has no line of its own.
  if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
  [ "$i" -eq 0 ] || skip "$name: ignored" "$i"
  [ "$p" -eq 0 ] || pass "$name: $p tests" "$p"
  [ "$f" -eq 0 ] || fail "$name: $f tests" "$f"
}

rust_tests() {
  local log=$work/tests.log status=0
  if cargo nextest --version >/dev/null 2>&1; then
    section "Tests (cargo nextest)"
    cargo nextest run --workspace "${features[@]+"${features[@]}"}" --no-fail-fast --no-tests=pass --status-level=slow --final-status-level=fail \
      2>&1 | tee "$log" || status=$?
    # "Summary [   1.2s] 12 tests run: 10 passed (1 slow), 2 failed, 3 skipped"
    local line p f i
    line=$(grep -E '^ *Summary \[' "$log" | tail -n 1 || true)
    p=$(grep -oE '[0-9]+ passed' <<<"$line" | cut -d' ' -f1 || true)
    f=$(grep -oE '[0-9]+ (failed|timed out|exec failed)' <<<"$line" | awk '{ n += $1 } END { print n + 0 }' || true)
    i=$(grep -oE '[0-9]+ skipped' <<<"$line" | cut -d' ' -f1 || true)
    count_tests "tests" "$status" "${p:-0}" "${f:-0}" "${i:-0}"
  else
    section "Tests (cargo test)"
    cargo test --workspace "${features[@]+"${features[@]}"}" --lib --bins --tests --no-fail-fast 2>&1 | tee "$log" || status=$?
    count_libtest "$log" "tests" "$status"
  fi
}

rust_doctests() {
  local log=$work/doctests.log status=0
  section "Documentation's examples"
  cargo test --workspace "${features[@]+"${features[@]}"}" --doc --no-fail-fast >"$log" 2>&1 || status=$?
  [ "$status" -eq 0 ] || cat "$log"
  count_libtest "$log" "doctests" "$status"
}

# Every program of examples/ runs without arguments and ends by itself.
rust_examples() {
  section "Examples"
  local list name
  # Cargo answers a missing name with an error that lists the names, each on an indented line.
  list=$(cargo run --quiet -p ashlar-examples --example 2>&1 | sed -n 's/^    \([A-Za-z0-9_-]*\)$/\1/p' || true)
  if [ -z "$list" ]; then fail "no example was found"; return; fi
  check "examples build" cargo build --quiet --workspace "${features[@]+"${features[@]}"}" --examples
  for name in $list; do
    section_started=$SECONDS
    check "example $name" timeout 120 "$CARGO_TARGET_DIR/debug/examples/$name"
  done
}

rust_binary() {
  section "The binary"
  check "cargo build" cargo build --quiet --workspace "${features[@]+"${features[@]}"}" --bins
  # A copy: whoever builds with other features afterwards, as nfs-kernel does for its guest, replaces the file there.
  cp "$CARGO_TARGET_DIR/debug/ashlar" "$work/ashlar"
  export ASHLAR=$work/ashlar
}

memory_limits() {
  section "Peak memory at default settings"
  local log=$work/memory.log status=0 p f
  # A binary without Ceph has nothing to do with the cluster.
  local without=()
  [ "${#features[@]}" -gt 0 ] || without=(env -u ASHLAR_TEST_CEPH_CONF)
  "${without[@]+"${without[@]}"}" "$here/memory" --dir "$work" 2>&1 | tee "$log" || status=$?
  read -r p f < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1; echo 0 0)
  count_tests "peak memory" "$status" "$p" "$f" 0
}
