# OpenStack's own backup drivers beside ours.

cinder_environments() {
  section "Cinder 29 and 22 (Python environments in $cache)"
  local release
  for release in 29 22; do
    section_started=$SECONDS
    check "Cinder $release" "$here/cinder/setup.sh" "$release"
  done
}

cinder_compatibility() {
  section "Compatibility with Cinder"
  local log=$work/compat.log status=0 p f
  python3 "$here/cinder/compat.py" 2>&1 | tee "$log" || status=$?
  read -r p f < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1; echo 0 0)
  count_tests "compatibility with Cinder" "$status" "$p" "$f" 0
}
