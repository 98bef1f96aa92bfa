#!/bin/bash
# Runs in the guest for scripts/nfs-kernel: the kernel's NFS server and the kernel's client on one machine, and on that
# what the settings name. A line for each case; exit status: 0 all is right, 1 something is not, 2 the test itself failed.
set -u
# shellcheck source=/dev/null
. "$SHARE/settings"
# What it did last, for when it comes to no end.
exec 9>"$SHARE/trace"
BASH_XTRACEFD=9
set -x
passed=0 failed=0
good() { passed=$((passed + 1)); echo "ok    $*"; }
wrong() { failed=$((failed + 1)); echo "FAIL  $*"; }
broken() { echo "the test failed: $*"; dmesg | tail -n 5; exit 2; }
# Nothing here may take as long as that: who gets this has hung.
HUNG=240

# ---- the server

exports() {
  local host
  for host in 127.0.0.1 ::1; do
    cat <<E2
/srv/nfs $host(rw,sync,no_subtree_check,no_root_squash,fsid=11)
/srv/ro $host(ro,sync,no_subtree_check,no_root_squash,fsid=12)
/srv/small $host(rw,sync,no_subtree_check,no_root_squash,fsid=13)
/srv/quota $host(rw,sync,no_subtree_check,all_squash,anonuid=5000,anongid=5000,fsid=14)
E2
  done
}

# disk NAME MIB [MKFS OPTION...]: a filesystem for /srv/NAME on a device of the mapper's, /dev/mapper/NAME.
disk() {
  local name=$1 size=$2 device
  shift 2
  truncate -s "${size}M" "/dev/shm/$name"
  device=$(losetup -f --show "/dev/shm/$name") || broken "no loop device"
  dmsetup create "$name" --table "0 $(blockdev --getsz "$device") linear $device 0" || broken "no device"
  mkfs.ext4 -q -E lazy_itable_init=0 "$@" "/dev/mapper/$name" || broken "no filesystem"
  mkdir -p "/exported/srv/$name"
}
# delay NAME MILLISECONDS: from now on each read and write of that disk takes so much longer.
delay() {
  local table
  table=$(dmsetup table "$1") || broken "no table"
  set -- "$1" "$2" $table # start length target device offset ...
  dmsetup suspend "$1" && dmsetup load "$1" --table "$3 $4 delay $6 $7 $2" && dmsetup resume "$1" || broken "no delay"
}
undelay() {
  local name=$1 table
  table=$(dmsetup table "$name") || broken "no table"
  # shellcheck disable=SC2086
  set -- $table
  dmsetup suspend "$name" && dmsetup load "$name" --table "$1 $2 linear $4 $5" && dmsetup resume "$name" || broken "no end of delay"
}

server_starts() { rpc.nfsd 8 || broken "nfsd does not start"; }
server_stops() { rpc.nfsd 0 || broken "nfsd does not stop"; }

prepare() {
  local module
  ip link set lo up
  for module in loop dm-mod dm-delay quota_v2 nfsd nfsv3 nfsv4; do modprobe "$module" || broken "no module $module"; done
  # The users that Debian's packages make.
  grep -q '^_rpc:' /etc/passwd || echo '_rpc:x:5001:65534::/run/rpcbind:/usr/sbin/nologin' >>/etc/passwd
  grep -q '^statd:' /etc/passwd || echo 'statd:x:5002:65534::/var/lib/nfs:/usr/sbin/nologin' >>/etc/passwd
  # The guest's own root cannot be exported, and the root of what is exported must be: another one.
  mkdir -p /exported
  truncate -s 16M /dev/shm/root
  mkfs.ext4 -q /dev/shm/root && mount -o loop /dev/shm/root /exported && mkdir /exported/srv || broken "no root"
  printf '[exports]\nrootdir=/exported\n' >/etc/nfs.conf
  disk nfs 400
  disk small 24
  disk quota 64 -O quota
  cd /exported/srv || broken "no folder"
  mount /dev/mapper/nfs nfs && mount /dev/mapper/small small && mount -o usrquota /dev/mapper/quota quota ||
    broken "not mounted"
  setquota -u 5000 0 4096 0 0 /exported/srv/quota || broken "no quota"
  chown 5000:5000 quota
  mkdir -p ro none
  mount --bind nfs ro
  cd / && mount --rbind /exported/srv /srv
  exports >/etc/exports
  mkdir -p /run/rpcbind /run/sendsigs.omit.d /var/lib/nfs/sm /var/lib/nfs/v4recovery /var/lib/nfs/nfsdcld /run/rpc_pipefs
  touch /var/lib/nfs/{etab,rmtab,state}
  mount -t rpc_pipefs rpc_pipefs /run/rpc_pipefs
  mount -t nfsd nfsd /proc/fs/nfsd || broken "no nfsd filesystem"
  rpcbind -w || broken "no rpcbind"
  # The shortest that it takes: so long nobody new gets in after a start.
  echo 10 >/proc/fs/nfsd/nfsv4leasetime
  echo 10 >/proc/fs/nfsd/nfsv4gracetime
  nfsdcld -p /run/rpc_pipefs/nfsd || echo "(no nfsdcld: clients are not remembered)"
  exportfs -ra || broken "nothing is exported"
  server_starts
  rpc.mountd || broken "no mountd"
  echo Y >/proc/fs/nfsd/v4_end_grace
}

# ---- the binary

soft='softerr,timeo=100,retrans=5,nolock'

# home NAME EXPORT MOUNT-OPTIONS TIMEOUT [MORE]: the home that `ashlar` works in from now on.
home() {
  home=/run/homes/$1
  mkdir -p "$home" "/srv/$2/$1"
  [ "$2" != quota ] || chown 5000:5000 "/srv/$2/$1"
  cat >"$home/ashlar.toml" <<E2
[backup]
repository = "nas"
chunk_size = "512KiB"
${5:-}
[repository.nas]
type = "nfs"
share = "127.0.0.1:/srv/$2"
folder = "$1"
mount_options = "$3"
mount_point_base = "/run/mounts-$(printf %s "$3" | tr -c 'a-z0-9.' -)"
timeout_seconds = $4
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
# restores NAME ID IMAGE
restores() {
  local made path
  if ! made=$(ashlar -f value -c volume_id volume backup restore "$2"); then wrong "$1: $(says)"; return 1; fi
  path=$(ashlar -f value -c path volume show "$made")
  if cmp -s "$path" "$3"; then good "$1"; else wrong "$1: other bytes"; fi
  ashlar volume delete "$made"
}
states() { ashlar -f value -c status volume backup list | sort | uniq -c | tr -s ' \n' ' '; }

# starts COMMAND...: a command of the binary in the background; it must still run when `while_it_runs` is called.
starts() {
  "$@" >"$home/out" &
  worker=$!
  sleep 1.5
}
still_runs() { kill -0 "$worker" 2>/dev/null || broken "it was done before anything happened: $(says)"; }

# ---- the cases

server_restarts() { # VERSION
  home "restart-$1" nfs "vers=$1,$soft" 300 'max_bandwidth = "4MiB"'
  volume 16
  local id
  starts back_up
  server_stops
  still_runs
  sleep 3
  server_starts
  wait "$worker" && good "NFS $1: a backup goes on when the server is back" || wrong "NFS $1: $(says)"
  id=$(cat "$home/out")
  starts ashlar -f value -c volume_id volume backup restore "$id"
  server_stops
  still_runs
  sleep 3
  server_starts
  if wait "$worker" && cmp -s "$(ashlar -f value -c path volume show "$(cat "$home/out")")" "$image"; then
    good "NFS $1: a restore goes on when the server is back"
  else
    wrong "NFS $1, restore: $(says)"
  fi
  ashlar volume backup verify "$id" >/dev/null && good "NFS $1: and all of it verifies" || wrong "NFS $1, verify: $(says)"
}

server_goes() { # NAME MOUNT-OPTIONS SAYING
  local first second before
  home "gone-$1" nfs "$2" 5 'max_bandwidth = "3MiB"'
  volume 8
  first=$(back_up) || broken "no first backup: $(says)"
  before=$home/before
  cp "$image" "$before"
  change
  starts back_up
  server_stops
  still_runs
  local status=0
  wait "$worker" || status=$?
  case $status in
    1) if grep -q "127.0.0.1:/srv/nfs/gone-$1" "$home/errors" && grep -Eq "$3" "$home/errors"; then
         good "$1: a backup ends by its deadline, with the reason"
       else
         wrong "$1: it says: $(says)"
       fi ;;
    *) wrong "$1: status $status and not 1: $(says)" ;;
  esac
  if pgrep -x ashlar >/dev/null; then wrong "$1: a process is left"; else good "$1: its process ends"; fi
  server_starts
  # Its clients have nothing to take up again.
  echo Y >/proc/fs/nfsd/v4_end_grace
  restores "$1: what was committed before restores" "$first" "$before"
  case $(states) in
    ' 1 available 1 error ') good "$1: the backup that was cut is in error" ;;
    *) wrong "$1: states: $(states)" ;;
  esac
  second=$(back_up) || wrong "$1: no second run: $(says)"
  restores "$1: a second run succeeds and restores" "$second" "$image"
  local id
  for id in $(ashlar -f value -c id -c status volume backup list | sed -n 's/ error$//p') "$second" "$first"; do
    ashlar volume backup delete "$id" || wrong "$1: not deleted: $(says)"
  done
  if find "/srv/nfs/gone-$1" -type f | grep -q .; then wrong "$1: files are left"; else good "$1: all is deleted"; fi
}

disk_is_full() { # EXPORT SAYING
  local first before=$1
  home "full-$1" "$1" "vers=4.2,$soft" 120
  volume 1
  first=$(back_up) || broken "no first backup: $(says)"
  before=$home/before
  cp "$image" "$before"
  head -c 30M /dev/urandom >"$home/large"
  ashlar volume create --file "$home/large" w >/dev/null
  if ashlar volume backup create w >/dev/null; then
    wrong "$1: it took what does not fit"
  elif grep -q "$2" "$home/errors"; then
    good "$1: a backup that does not fit says: $2"
  else
    wrong "$1: it says: $(says)"
  fi
  restores "$1: what was committed before restores" "$first" "$before"
  change
  if first=$(back_up --incremental); then good "$1: there is room again"; else wrong "$1: no room again: $(says)"; fi
  restores "$1: and the next backup restores" "$first" "$image"
}

read_only() {
  home "read-only" nfs "vers=4.2,$soft" 120
  volume 1
  local id
  id=$(back_up) || broken "no backup: $(says)"
  sed -i 's,srv/nfs,srv/ro,' "$home/ashlar.toml"
  restores "read-only: a restore needs no right to write" "$id" "$image"
  if ashlar volume backup create v >/dev/null; then
    wrong "read-only: a backup was written"
  elif grep -Eiq 'read-only|permission denied' "$home/errors"; then
    good "read-only: a backup says so"
  else
    wrong "read-only: it says: $(says)"
  fi
}

slow_disk() {
  home slow nfs "vers=4.2,$soft" 120
  volume 4
  delay nfs 30
  local id
  id=$(back_up) || wrong "slow: $(says)"
  echo 3 >/proc/sys/vm/drop_caches
  restores "slow: a backup on a slow disk restores" "$id" "$image"
  undelay nfs
}

by_ipv6() {
  home ipv6 nfs "vers=4.2,$soft" 120
  sed -i 's,127.0.0.1:,[::1]:,' "$home/ashlar.toml"
  volume 1
  local id
  id=$(back_up) && restores "IPv6: [::1]:/srv/nfs is mounted and restores" "$id" "$image" || wrong "IPv6: $(says)"
}

# The project's own tests on that server. tests NAME PROGRAM [FILTER]
tests() {
  local log=/run/tests.log p=0 f=1
  ASHLAR_TEST_NFS_KERNEL=127.0.0.1:/srv/nfs timeout -k 5 "$HUNG" "$2" --test-threads 2 ${3:+"$3"} >"$log" 2>&1
  read -r p f <<<"$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed.*/\1 \2/p' "$log")"
  p=${p:-0} f=${f:-1}
  passed=$((passed + p)) failed=$((failed + f))
  if [ "$f" = 0 ] && [ "$p" != 0 ]; then echo "ok    $1: $p tests"; else echo "FAIL  $1"; cat "$log"; fi
}

cinder() {
  local log=/run/cinder.log p=0 f=1
  mkdir -p /run/tmp
  ASHLAR=$ashlar TMPDIR=/run/tmp timeout -k 5 "$HUNG" python3 "$scripts/cinder/share.py" 127.0.0.1:/srv/nfs /run/mounts-cinder "vers=4.2,$soft" >"$log" 2>&1
  read -r p f <<<"$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log")"
  p=${p:-0} f=${f:-1}
  passed=$((passed + p)) failed=$((failed + f))
  grep -v '^[0-9]* passed' "$log"
}

prepare
for part in $parts; do
  began=$SECONDS
  case $part in
    conformance) tests "the driver's tests, NFS 4.2 and 3" "$driver_tests" ;;
    life) tests "lives of backups, NFS 4.2 and 3" "$cli_tests" remote:: ;;
    cinder) cinder ;;
    restarts) server_restarts 4.2; server_restarts 3 ;;
    gone)
      server_goes soft "vers=4.2,softerr,timeo=20,retrans=1" 'timed out|no answer within'
      server_goes hard "vers=4.2,hard" 'no answer within'
      server_goes hard-3 "vers=3,hard,nolock" 'no answer within' ;;
    full) disk_is_full small 'No space left'; disk_is_full quota 'quota' ;;
    others) read_only; slow_disk; by_ipv6 ;;
    shell) bash "$SHARE/more" ;;
    *) broken "no such part: $part" ;;
  esac
  echo "      ($part: $((SECONDS - began)) s)"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
