#!/bin/bash
# Runs in the guest for scripts/nfs-kernel: the kernel's NFS server with both clients, the kernel's and the one without a
# mount, on one machine, and on that what the settings name. A line for each case; exit status: 0 all is right, 1
# something is not, 2 the test itself failed.
set -u
# shellcheck source=/dev/null
. "$SHARE/settings"
# shellcheck source=/dev/null
. "$scripts/servers/guest/nfs-server.sh"
# What it did last, for when it comes to no end.
exec 9>"$SHARE/trace"
BASH_XTRACEFD=9
set -x
passed=0 failed=0
good() { passed=$((passed + 1)); echo "ok    $*"; }
wrong() { failed=$((failed + 1)); echo "FAIL  $*"; }
broken() { echo "the test failed: $*"; dmesg | tail -n 5; exit 2; }
# Nothing here may take as long as that: who gets this has hung.
HUNG=300

# ---- the binary

soft='softerr,timeo=100,retrans=5,nolock'

# home NAME EXPORT CLIENT MOUNT-OPTIONS TIMEOUT [MORE]: the home that `ashlar` works in from now on, and its folder in the
# export.
home() {
  home=/run/homes/$1
  disk_folder=/srv/$2/$1
  mkdir -p "$home" "$disk_folder"
  case $2 in quota | project) chown 5000:5000 "$disk_folder" ;; esac
  cat >"$home/ashlar.toml" <<E2
[backup]
repository = "nas"
chunk_size = "512KiB"
${6:-}
[repository.nas]
type = "nfs"
client = "$3"
share = "127.0.0.1:/srv/$2"
folder = "$1"
mount_options = "$4"
mount_point_base = "/run/mounts-$(printf %s "$4" | tr -c 'a-z0-9.' -)"
timeout_seconds = $5
E2
}
ashlar() { timeout -k 5 "$HUNG" "$ashlar" --home "$home" -q "$@" 2>"$home/errors"; }
says() { head -n 3 "$home/errors"; }
volume() { # MIB
  image=$home/image
  head -c "$1M" /dev/urandom >"$image"
  ashlar volume create --file "$image" v >/dev/null || broken "no volume: $(says)"
}
change() { dd if=/dev/urandom of="$image" bs=64k seek=$((RANDOM % 8)) count=3 conv=notrunc status=none; }
back_up() { ashlar -f value -c id volume backup create "$@" v; }
restore() { ashlar -f value -c volume_id volume backup restore "$1"; }
# restores NAME ID IMAGE
restores() {
  local made path
  if ! made=$(restore "$2"); then wrong "$1: $(says)"; return 1; fi
  path=$(ashlar -f value -c path volume show "$made")
  if cmp -s "$path" "$3"; then good "$1 ($(stat -c %s "$path") bytes)"; else wrong "$1: other bytes"; fi
  ashlar volume delete "$made"
}
states() { ashlar -f value -c status volume backup list | sort | uniq -c | tr -s ' \n' ' '; }
# deletes NAME ID...: and nothing must be left, whatever was cut before.
deletes() {
  local name=$1 id left
  shift
  for id in "$@"; do ashlar volume backup delete "$id" || wrong "$name: not deleted: $(says)"; done
  left=$(find "$disk_folder" -type f | head -n 3)
  if [ -n "$left" ]; then wrong "$name: files are left: $left"; else good "$name: all is deleted"; fi
}

# starts COMMAND...: a command of the binary in the background, which `in_its_middle` finds there.
starts() {
  touch "$home/begun"
  "$@" >"$home/out" &
  worker=$!
}
# in_its_middle FOLDER: waits until the job has written something there, and must have more to do.
in_its_middle() {
  local i
  for ((i = 0; i < 600; i++)); do
    # Blocks, not bytes: a restore makes its target as long as it will be before anything is in it.
    if find "$1" -type f -newer "$home/begun" -printf '%b\n' 2>/dev/null | grep -qv '^0$'; then
      still_runs
      return
    fi
    still_runs
    sleep 0.05
  done
  broken "nothing was written: $(says)"
}
still_runs() { kill -0 "$worker" 2>/dev/null || broken "it was done before anything happened: $(says)"; }

# ---- the cases

server_restarts() { # CLIENT VERSION
  local id name="$1 $2"
  home "restart-$1-$2" nfs "$1" "vers=$2,$soft" 300 'max_bandwidth = "4MiB"'
  volume 10
  starts back_up
  in_its_middle "$disk_folder"
  server_stops
  still_runs
  sleep 3
  server_starts
  wait "$worker" && good "$name: a backup goes on when the server is back" || wrong "$name: $(says)"
  id=$(cat "$home/out")
  starts restore "$id"
  in_its_middle "$home/volumes"
  server_stops
  still_runs
  sleep 3
  server_starts
  if wait "$worker" && cmp -s "$(ashlar -f value -c path volume show "$(cat "$home/out")")" "$image"; then
    good "$name: a restore goes on when the server is back"
  else
    wrong "$name, restore: $(says)"
  fi
  ashlar volume backup verify "$id" >/dev/null && good "$name: and all of it verifies" || wrong "$name, verify: $(says)"
}

# ends NAME SAYING: the job in the background ends with an error that names the share and says that.
ends() {
  local status=0
  wait "$worker" || status=$?
  if [ "$status" -ne 1 ]; then
    wrong "$1: status $status and not 1: $(says)"
  elif grep -q "127.0.0.1:/srv/nfs/" "$home/errors" && grep -Eq "$2" "$home/errors"; then
    good "$1 ends by its deadline, with the reason"
  else
    wrong "$1: it says: $(says)"
  fi
  if pgrep -x ashlar >/dev/null; then wrong "$1: a process is left"; else good "$1: its process ends"; fi
}

server_goes() { # NAME CLIENT MOUNT-OPTIONS SAYING
  local first second before
  home "gone-$1" nfs "$2" "$3" 5 'max_bandwidth = "3MiB"'
  volume 12
  first=$(back_up) || broken "no first backup: $(says)"
  before=$home/before
  cp "$image" "$before"
  change
  starts back_up
  in_its_middle "$disk_folder"
  server_stops
  still_runs
  ends "$1: a backup" "$4"
  server_is_back
  restores "$1: what was committed before restores" "$first" "$before"
  case $(states) in
    ' 1 available 1 error ') good "$1: the backup that was cut is in error" ;;
    *) wrong "$1: states: $(states)" ;;
  esac
  starts restore "$first"
  in_its_middle "$home/volumes"
  server_stops
  still_runs
  ends "$1: a restore" "$4"
  server_is_back
  second=$(back_up) || wrong "$1: no second run: $(says)"
  restores "$1: a second run succeeds and restores" "$second" "$image"
  # The words are IDs.
  # shellcheck disable=SC2046
  deletes "$1" $(ashlar -f value -c id -c status volume backup list | sed -n 's/ error$//p') "$second" "$first"
}

disk_is_full() { # EXPORT SAYING CLIENT VERSION
  local first second before name="$1, $3 $4"
  home "full-$1-$3-$4" "$1" "$3" "vers=$4,$soft" 120
  volume 1
  first=$(back_up) || broken "no first backup: $(says)"
  before=$home/before
  cp "$image" "$before"
  head -c 30M /dev/urandom >"$home/large"
  ashlar volume create --file "$home/large" w >/dev/null
  if ashlar volume backup create w >/dev/null; then
    wrong "$name: it took what does not fit"
  elif grep -iq "$2" "$home/errors"; then
    good "$name: a backup that does not fit says: $2"
  else
    wrong "$name: it says: $(says)"
  fi
  restores "$name: what was committed before restores" "$first" "$before"
  change
  if second=$(back_up --incremental); then good "$name: there is room again"; else wrong "$name: no room again: $(says)"; fi
  restores "$name: and the next backup restores" "$second" "$image"
  # shellcheck disable=SC2046
  deletes "$name" $(ashlar -f value -c id -c status volume backup list | sed -n 's/ error$//p') "$second" "$first"
}

read_only() { # CLIENT VERSION
  local id name="read-only, $1 $2"
  home "read-only-$1" nfs "$1" "vers=$2,$soft" 120
  volume 1
  id=$(back_up) || broken "no backup: $(says)"
  sed -i 's,srv/nfs,srv/ro,' "$home/ashlar.toml"
  restores "$name: a restore needs no right to write" "$id" "$image"
  if ashlar volume backup create v >/dev/null; then
    wrong "$name: a backup was written"
  elif grep -Eiq 'read-only|permission denied' "$home/errors"; then
    good "$name: a backup says so"
  else
    wrong "$name: it says: $(says)"
  fi
}

slow_disk() { # CLIENT VERSION
  local id
  home "slow-$1" nfs "$1" "vers=$2,$soft" 120
  volume 4
  delay nfs 30
  id=$(back_up) || wrong "slow, $1 $2: $(says)"
  echo 3 >/proc/sys/vm/drop_caches
  restores "slow, $1 $2: a backup on a slow disk restores" "$id" "$image"
  undelay nfs
}

by_ipv6() { # CLIENT VERSION
  local id
  home "ipv6-$1" nfs "$1" "vers=$2,$soft" 120
  sed -i 's,127.0.0.1:,[::1]:,' "$home/ashlar.toml"
  volume 1
  id=$(back_up) && restores "IPv6, $1 $2: [::1]:/srv/nfs is reached and restores" "$id" "$image" ||
    wrong "IPv6, $1 $2: $(says)"
}

# The project's own tests on that server. tests NAME PROGRAM FILTER...
tests() {
  local log=/run/tests.log p=0 f=1 name=$1
  shift
  ASHLAR_TEST_NFS_KERNEL=127.0.0.1:/srv/nfs ASHLAR_TEST_NFS_PORT=2049 ASHLAR_TEST_NFS_MOUNT_PORT=$MOUNT_PORT \
    ASHLAR_TEST_NFS_FOLDER=/exported/export ASHLAR_TEST_NFS_SMALL=/exported/small ASHLAR_TEST_NFS_SERVER=linux \
    timeout -k 5 "$HUNG" "$@" --test-threads 2 --nocapture >"$log" 2>&1
  read -r p f <<<"$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed.*/\1 \2/p' "$log")"
  p=${p:-0} f=${f:-1}
  [ "$p" != 0 ] || [ "$f" != 0 ] || f=1 # A filter that fits no test proves nothing.
  passed=$((passed + p)) failed=$((failed + f))
  if [ "$f" = 0 ]; then echo "ok    $name: $p tests"; else echo "FAIL  $name"; cat "$log"; fi
  # What each version of the protocol kept.
  sed -n 's/.*\(NFS [0-9.]*: [0-9]* promises\).*/      \1/p; s/.*\(version [0-9.]*: [0-9]* checks\).*/      \1/p
    s/.*\(NFS [0-9.]*: a full backup .*\)/      \1/p' "$log"
}

cinder() {
  local log=/run/cinder.log p=0 f=1
  mkdir -p /run/tmp
  ASHLAR=$ashlar TMPDIR=/run/tmp timeout -k 5 "$HUNG" python3 "$scripts/cinder/share.py" 127.0.0.1:/srv/nfs /run/mounts-cinder "vers=4.1,$soft" >"$log" 2>&1
  read -r p f <<<"$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log")"
  p=${p:-0} f=${f:-1}
  [ "$p" != 0 ] || [ "$f" != 0 ] || f=1
  passed=$((passed + p)) failed=$((failed + f))
  grep -v '^[0-9]* passed' "$log"
}

prepare_server
for part in $parts; do
  began=$SECONDS
  case $part in
    conformance) tests "the kernel's client, NFS 4.2 and 3" "$driver_tests" kernel:: ;;
    userspace)
      tests "the client without a mount, NFS 4.1 and 3" "$driver_tests" conformance:: folder:: refused::
      tests "its chains, read from the server's disk too" "$cli_tests" nfs::a_chain nfs::what_cinders ;;
    life) tests "lives of backups, NFS 4.2 and 3" "$cli_tests" remote:: ;;
    both) tests "both clients in turns on one share, NFS 4.1 and 3" "$cli_tests" nfs_clients:: ;;
    cinder) cinder ;;
    restarts)
      server_restarts kernel 4.2; server_restarts kernel 3
      server_restarts userspace 4.1; server_restarts userspace 3 ;;
    gone)
      server_goes soft kernel "vers=4.2,softerr,timeo=20,retrans=1" 'timed out|no answer within'
      server_goes hard kernel "vers=4.2,hard" 'no answer within'
      server_goes hard-3 kernel "vers=3,hard,nolock" 'no answer within'
      server_goes userspace-4.1 userspace "vers=4.1" 'NFS server'
      server_goes userspace-3 userspace "vers=3" 'NFS server' ;;
    full)
      disk_is_full small 'no space left' kernel 4.2; disk_is_full small 'no space left' userspace 4.1
      disk_is_full quota 'quota' kernel 4.2; disk_is_full quota 'quota' userspace 4.1
      disk_is_full quota 'quota' userspace 3; disk_is_full project 'quota' kernel 4.2 ;;
    others)
      read_only kernel 4.2; read_only userspace 4.1
      slow_disk kernel 4.2; slow_disk userspace 4.1
      by_ipv6 kernel 4.2; by_ipv6 userspace 4.1 ;;
    shell) bash "$SHARE/more" ;;
    *) broken "no such part: $part" ;;
  esac
  echo "      ($part: $((SECONDS - began)) s)"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
