# A filesystem with reflinks for the tests of volume snapshots: xfs in a file, mounted by a loop device.

xfs_mount=
mount_xfs() {
  section "xfs for reflink snapshots"
  local why=
  if [ "$(id -u)" -ne 0 ]; then why="needs root"
  elif ! have mkfs.xfs; then why="needs mkfs.xfs (package xfsprogs)"
  elif [ ! -e /dev/loop-control ]; then why="no loop devices here"
  fi
  if [ -z "$why" ]; then
    truncate -s 1G "$work/xfs.img"
    mkdir "$work/xfs"
    if ! mkfs.xfs -q -m reflink=1 "$work/xfs.img"; then why="mkfs.xfs failed"
    elif ! mount -o loop "$work/xfs.img" "$work/xfs"; then why="the loop mount failed"
    fi
  fi
  if [ -n "$why" ]; then
    skip "snapshots by reflink: $why"
    return
  fi
  xfs_mount=$work/xfs
  export ASHLAR_TEST_XFS=$xfs_mount
  pass "mounted at $xfs_mount"
}

unmount_xfs() {
  [ -n "$xfs_mount" ] || return 0
  umount "$xfs_mount" || umount -l "$xfs_mount" || true
  xfs_mount=
}
