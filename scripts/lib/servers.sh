# Real servers beside the tests: S3 (Ceph's radosgw and moto). Installing and starting them is mostly waiting, so it
# goes on beside the lints and builds.

RADOSGW_PACKAGES="ceph-mon ceph-osd ceph-common radosgw python3-rados curl"

servers_pid=
servers_status=

has_radosgw() {
  local program
  for program in ceph-mon ceph-osd ceph-authtool monmaptool radosgw radosgw-admin curl; do
    have "$program" || return 1
  done
  /usr/bin/python3 -c 'import rados' 2>/dev/null
}

# install_packages PACKAGE...: as root on Debian; waits for another apt-get that runs.
install_packages() {
  [ "$(id -u)" -eq 0 ] && have apt-get || return 1
  local options=(-y -qq -o DPkg::Lock::Timeout=600 --no-install-recommends)
  export DEBIAN_FRONTEND=noninteractive
  apt-get install "${options[@]}" "$@" >/dev/null 2>&1 ||
    { apt-get update -qq -o DPkg::Lock::Timeout=600 && apt-get install "${options[@]}" "$@" >/dev/null; }
}

# One server: its log in $work/NAME.log, its end in $work/NAME.status.
start_server() { # NAME SCRIPT
  local status=0
  "$2" start "$work/servers/$1" >"$work/$1.log" 2>&1 || status=$?
  echo "$status" >"$work/$1.status"
}

servers_begin() {
  mkdir -p "$work/servers"
  (
    start_server moto "$here/servers/s3/moto" &
    # The words are packages.
    # shellcheck disable=SC2086
    if has_radosgw || install_packages $RADOSGW_PACKAGES >"$work/radosgw.log" 2>&1 && has_radosgw; then
      start_server radosgw "$here/servers/s3/radosgw"
    fi
    wait
  ) &
  servers_pid=$!
}

servers_await() {
  section "S3 servers"
  wait "$servers_pid"
  servers_pid=
  local name
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
}

servers_stop() {
  if [ -n "$servers_pid" ]; then
    kill "$servers_pid" 2>/dev/null || true
    wait "$servers_pid" 2>/dev/null || true
  fi
  local name
  for name in radosgw moto; do
    [ ! -d "$work/servers/$name" ] || "$here/servers/s3/$name" destroy "$work/servers/$name" >/dev/null 2>&1 || true
  done
}

# Cinder's own S3 driver on the same servers, once its environment is there.
servers_with_cinder() {
  section "Cinder's own drivers on the same servers"
  local log=$work/servers-cinder.log status=0
  ASHLAR_TEST_CINDER_PYTHON=$(cinder_python 29) \
    cargo test --workspace --test it a_chain_of_ours_and_cinders >"$log" 2>&1 || status=$?
  [ "$status" -eq 0 ] || cat "$log"
  count_libtest "$log" "chains of ours and Cinder's" "$status"
}
