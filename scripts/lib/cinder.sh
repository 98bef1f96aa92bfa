# OpenStack's own backup drivers beside ours.

# Mostly waiting for the package index, so it goes on beside the builds.
cinder_pids=()
cinder_environments_begin() {
  local release
  for release in 29 22; do
    "$here/cinder/setup.sh" "$release" >"$work/cinder-$release.log" 2>&1 &
    cinder_pids+=("$!")
  done
}

cinder_environments_await() {
  section "Cinder 29 and 22 (Python environments in $cache)"
  local release i=0
  for release in 29 22; do
    if wait "${cinder_pids[$i]}"; then pass "Cinder $release"; else fail "Cinder $release"; fi
    cat "$work/cinder-$release.log"
    i=$((i + 1))
  done
  cinder_pids=()
}

# cinder_python RELEASE: the Python of its environment.
cinder_python() {
  local named=CINDER$1_VENV
  echo "${!named:-$cache/cinder-$1}/bin/python"
}

cinder_environments_stop() {
  [ "${#cinder_pids[@]}" -eq 0 ] || kill "${cinder_pids[@]}" 2>/dev/null || true
}

cinder_compatibility() {
  section "Compatibility with Cinder"
  local log=$work/compat.log status=0 p f
  python3 "$here/cinder/compat.py" 2>&1 | tee "$log" || status=$?
  read -r p f < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1; echo 0 0)
  count_tests "compatibility with Cinder" "$status" "$p" "$f" 0
}

cinder_histories() {
  section "Random histories, restored by Cinder 29"
  local log=$work/histories.log status=0 p f
  python3 "$here/cinder/histories.py" --histories "${1:-2}" --seconds "${2:-0}" ${ASHLAR_SEED:+--seed "$ASHLAR_SEED"} \
    >"$log" 2>&1 || status=$?
  grep -v '^ok ' "$log"
  read -r p f < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1; echo 0 0)
  count_tests "random histories with Cinder" "$status" "$p" "$f" 0
}
