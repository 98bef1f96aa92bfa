#!/bin/bash
# Runs in the guest for scripts/power-cut: cuts the power of a disk in the middle of backups, and looks what is left.
# Exit status: 0 nothing was lost, 1 something was, 2 the test itself failed.
set -u
# shellcheck source=/dev/null
. "$SHARE/settings"
RANDOM=$seed
# What it did last, for when it comes to no end.
exec 9>"$SHARE/trace"
BASH_XTRACEFD=9
set -x
notes=/run/notes
disk=/dev/shm/disk
mnt=/mnt/disk
image=/run/volume.img
mkdir -p "$notes" "$mnt"
broken() { echo "the test failed: $*"; dmesg | tail -n 5; exit 2; }
for module in loop dm-mod dm-flakey "$fs"; do modprobe "$module" || broken "no module $module"; done

ashlar() { "$SHARE/ashlar" --home "$mnt/home" "$@"; }
# What the program that is cut runs without.
meddled() {
  if [ -n "$without" ]; then LD_PRELOAD=$SHARE/unsynced.so UNSYNCED=$without ashlar "$@"; else ashlar "$@"; fi
}
sum() { sha256sum <"$1" | cut -d' ' -f1; }
table() { # linear, or flakey: from now on every write is dropped
  case $1 in
    linear) echo "0 $sectors linear $device 0" ;;
    flakey) echo "0 $sectors flakey $device 0 0 36000 1 drop_writes" ;;
  esac
}
switch() {
  dmsetup suspend --nolockfs --noflush cut && dmsetup load cut --table "$(table "$1")" && dmsetup resume cut ||
    broken "the disk cannot be switched to $1"
}

# Makes backups, and now and then deletes the newest, until it is stopped. What a command told is noted when it has ended
# well; a delete is noted before too, since after a cut in its middle both ends are right.
work() {
  local made=0 kind id
  while [ ! -e "$notes/stop" ]; do
    dd if=/dev/urandom of="$image" bs=64k seek=$((RANDOM % 200)) count=$((1 + RANDOM % 50)) conv=notrunc status=none
    kind=--incremental
    [ $((made % 4)) = 0 ] && kind=
    # shellcheck disable=SC2086
    id=$(meddled -q -f value -c id volume backup create $kind v) || {
      echo "$id" >>"$notes/failed"
      made=0 # its parent may have been deleted: a full one is next
      continue
    }
    echo "$id $(sum "$image")" >>"$notes/told"
    made=$((made + 1))
    if [ $((RANDOM % 4)) = 0 ]; then
      echo "$id" >>"$notes/deleting"
      [ ! -e "$notes/stop" ] && meddled -q volume backup delete "$id" && echo "$id" >>"$notes/deleted"
    fi
  done
}

lost=0
loss() { echo "  LOST: $*"; lost=$((lost + 1)); }

look() {
  local id expected status restored
  if ! ashlar -f value -c id -c status volume backup list >"$notes/list" 2>"$notes/errors"; then
    loss "the catalogue does not open: $(cat "$notes/errors")"
    return
  fi
  if grep -Eqv ' (available|error)$' "$notes/list"; then loss "unsettled: $(cat "$notes/list")"; fi
  while read -r id expected; do
    grep -q "^$id$" "$notes/deleting" && continue
    status=$(sed -n "s/^$id //p" "$notes/list")
    if [ "$status" != available ]; then loss "backup $id is ${status:-gone}"; continue; fi
    if ! restored=$(ashlar -q -f value -c volume_id volume backup restore --name r "$id" 2>"$notes/errors"); then
      loss "backup $id does not restore: $(head -n 1 "$notes/errors")"
    elif [ "$(sum "$(ashlar -f value -c path volume show "$restored")")" != "$expected" ]; then
      loss "backup $id restores to something else"
    fi
    [ -z "$restored" ] || ashlar -q volume delete "$restored" || true
  done <"$notes/told.before"
  while read -r id; do
    if grep -q "^$id " "$notes/list"; then loss "deleted backup $id is back"; fi
  done <"$notes/deleted.before"
  # The rest of what was cut can go, and life goes on.
  local cut=0
  while read -r id status; do
    [ "$status" = error ] || continue
    cut=$((cut + 1))
    ashlar -q volume backup delete "$id" || loss "backup $id cannot be deleted"
  done <"$notes/list"
  id=$(ashlar -q -f value -c id volume backup create v) || { loss "no new backup can be made"; return; }
  restored=$(ashlar -q -f value -c volume_id volume backup restore --name r "$id") &&
    [ "$(sum "$(ashlar -f value -c path volume show "$restored")")" = "$(sum "$image")" ] || loss "the new backup does not restore"
  find "$mnt/home/jobs" "$mnt/home/repository" -name '*.lock' -o -name '.ashlar-*' >"$notes/left"
  [ ! -s "$notes/left" ] || loss "nothing, but this is left behind: $(cat "$notes/left")"
  cut_ones=$cut
}

for round in $(seq "$rounds"); do
  rm -f "$notes"/*
  touch "$notes"/{told,deleted,deleting,failed}
  head -c 16M /dev/urandom >"$image"
  rm -f "$disk"
  truncate -s 900M "$disk"
  device=$(losetup -f --show "$disk") || broken "no loop device"
  sectors=$(blockdev --getsz "$device")
  dmsetup create cut --table "$(table linear)" || broken "no device"
  "mkfs.$fs" -q /dev/mapper/cut && mount /dev/mapper/cut "$mnt" || broken "no filesystem"
  ashlar -q volume create --file "$image" v >/dev/null || broken "no volume"
  # A new home on a disk that was just made may itself still be on its way there.
  sync

  work 2>>"$notes/errors.work" &
  worker=$!
  # Not before there is something to lose.
  while [ "$(wc -l <"$notes/told")" -lt 2 ]; do
    sleep 0.05
    kill -0 "$worker" || broken "$(cat "$notes/errors.work")"
    [ "$(wc -l <"$notes/failed")" -lt 5 ] || broken "no backup succeeds: $(tail -n 4 "$notes/errors.work")"
  done
  sleep "$((RANDOM % 3)).$((RANDOM % 900 + 100))"
  cp "$notes/deleted" "$notes/deleted.before"
  cp "$notes/told" "$notes/told.before"
  switch flakey
  sleep 0.$((RANDOM % 5))
  touch "$notes/stop"
  # The worker's child is the only program of that name in this guest.
  pkill -9 -x ashlar
  wait "$worker"
  umount "$mnt" || broken "not unmounted"
  blockdev --flushbufs /dev/mapper/cut
  switch linear
  echo 3 >/proc/sys/vm/drop_caches
  mount /dev/mapper/cut "$mnt" || { loss "the filesystem does not mount"; }
  before=$lost cut_ones=?
  look
  echo "round $round: $(wc -l <"$notes/told.before") backups told, $(wc -l <"$notes/deleted.before") deleted, $cut_ones cut; $((lost - before)) lost"
  umount "$mnt"
  dmsetup remove cut
  losetup -d "$device"
done
[ "$lost" -eq 0 ]
