# Real servers beside the tests: S3 (Ceph's radosgw and moto), RBD on the same Ceph, Swift with Keystone, NFS (ganesha).
# Installing and starting them is mostly waiting, so it goes on beside the lints and builds.

RADOSGW_PACKAGES="ceph-mon ceph-osd ceph-common radosgw python3-rados curl"
SWIFT_PACKAGES="python3-venv curl memcached"

servers_pid=
swift_pid=
nfs_pid=

has_radosgw() {
  local program
  for program in ceph-mon ceph-osd ceph-authtool monmaptool radosgw radosgw-admin curl; do
    have "$program" || return 1
  done
  /usr/bin/python3 -c 'import rados' 2>/dev/null
}
has_libfaketime() { compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null; }
has_swift() { have curl && have memcached && have_venv; }

# install_packages PACKAGE...: as root on Debian; waits for another apt-get that runs.
install_packages() {
  [ "$(id -u)" -eq 0 ] && have apt-get || return 1
  local options=(-y -qq -o DPkg::Lock::Timeout=600 --no-install-recommends)
  export DEBIAN_FRONTEND=noninteractive
  apt-get install "${options[@]}" "$@" >/dev/null 2>&1 ||
    { apt-get update -qq -o DPkg::Lock::Timeout=600 && apt-get install "${options[@]}" "$@" >/dev/null; }
}

# One server of S3: its log in $work/NAME.log, its end in $work/NAME.status.
start_server() { # NAME
  local status=0
  "$here/servers/s3/$1" start "$work/servers/$1" >"$work/$1.log" 2>&1 || status=$?
  echo "$status" >"$work/$1.status"
}

# Swift and Keystone run until $work/swift.stop is there, or with-servers is told to end.
hold_swift() {
  exec "$here/servers/swift/with-servers" bash -c '
    export -p | grep " ASHLAR_TEST_SWIFT" >"$1.part" && mv "$1.part" "$1"
    while [ ! -e "$2" ]; do sleep 0.5; done' hold "$work/swift.env" "$work/swift.stop"
}

servers_begin() {
  mkdir -p "$work/servers"
  (
    start_server moto &
    # The words are packages.
    # shellcheck disable=SC2086
    if has_radosgw || install_packages $RADOSGW_PACKAGES >"$work/radosgw.log" 2>&1 && has_radosgw; then
      start_server radosgw
    fi
    wait
  ) &
  servers_pid=$!
  (
    # shellcheck disable=SC2086
    has_swift || install_packages $SWIFT_PACKAGES >"$work/swift.log" 2>&1
    has_swift || exit 3
    hold_swift >"$work/swift.log" 2>&1
  ) &
  swift_pid=$!
  (
    "$here/servers/nfs/ganesha" packages >"$work/ganesha.log" 2>&1 || exit 3
    "$here/servers/nfs/ganesha" start "$work/servers/ganesha" >"$work/ganesha.log" 2>&1
  ) &
  nfs_pid=$!
}

servers_await() {
  section "Servers of S3, Swift, Ceph and NFS"
  await_nfs
  wait "$servers_pid"
  servers_pid=
  local name status=0
  for name in radosgw moto; do
    if [ ! -f "$work/$name.status" ]; then
      cat "$work/$name.log" 2>/dev/null
      skip "$name: to get it: apt-get install --no-install-recommends $RADOSGW_PACKAGES   (Debian, Ubuntu; as root)"
    elif [ "$(cat "$work/$name.status")" = 0 ]; then
      # shellcheck source=/dev/null
      . "$work/servers/$name/env.sh"
      pass "$name answers"
    else
      cat "$work/$name.log"
      fail "$name does not start"
    fi
  done
  while [ ! -f "$work/swift.env" ] && kill -0 "$swift_pid" 2>/dev/null; do sleep 0.5; done
  if [ -f "$work/swift.env" ]; then
    # shellcheck source=/dev/null
    . "$work/swift.env"
    pass "Swift and Keystone answer"
    return
  fi
  wait "$swift_pid" || status=$?
  swift_pid=
  if [ "$status" -eq 3 ]; then
    skip "Swift: to get what it needs: apt-get install $SWIFT_PACKAGES   (Debian, Ubuntu; as root)"
  else
    cat "$work/swift.log"
    fail "Swift does not start"
  fi
}

await_nfs() {
  local status=0
  wait "$nfs_pid" || status=$?
  nfs_pid=
  if [ "$status" -eq 0 ]; then
    # shellcheck source=/dev/null
    . "$work/servers/ganesha/env.sh"
    pass "NFS answers"
  elif [ "$status" -eq 3 ]; then
    skip "NFS: $(tail -n 1 "$work/ganesha.log")"
  else
    cat "$work/ganesha.log"
    fail "NFS does not start"
  fi
}

servers_stop() {
  : >"$work/swift.stop"
  local pid name
  for pid in $servers_pid $swift_pid $nfs_pid; do
    # Swift's ends by itself where its servers run; before that it is told to.
    if [ "$pid" = "$servers_pid" ] || [ ! -f "$work/swift.env" ]; then kill "$pid" 2>/dev/null || true; fi
    wait "$pid" 2>/dev/null || true
  done
  for name in radosgw moto; do
    [ ! -d "$work/servers/$name" ] || "$here/servers/s3/$name" destroy "$work/servers/$name" >/dev/null 2>&1 || true
  done
  [ ! -d "$work/servers/ganesha" ] || "$here/servers/nfs/ganesha" destroy "$work/servers/ganesha" >/dev/null 2>&1 || true
}

# Cinder's own drivers on the same servers, once their environment is there.
servers_with_cinder() {
  section "Cinder's own drivers on the same servers"
  local log=$work/servers-cinder.log status=0
  ASHLAR_TEST_CINDER_PYTHON=$(cinder_python 29) ASHLAR_TEST_CINDER_22_PYTHON=$(cinder_python 22) \
    cargo test --workspace "${features[@]+"${features[@]}"}" --no-fail-fast --test it a_chain_of_ours_and_cinders >"$log" 2>&1 || status=$?
  [ "$status" -eq 0 ] || cat "$log"
  count_libtest "$log" "chains of ours and Cinder's" "$status"
}
