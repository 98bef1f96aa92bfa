# NFS on the kernel's server, by both clients, in a guest.

nfs_kernel() {
  section "NFS on the kernel's server, in a guest"
  local log=$work/nfs-kernel.log status=0 p f
  # The other parts take minutes more: scripts/nfs-kernel runs all.
  # It builds the binary without Ceph: the guest has no librbd.
  env -u ASHLAR "$here/nfs-kernel" conformance userspace both restarts full others 2>&1 | tee "$log" || status=$?
  if [ "$status" -eq 3 ]; then skip "NFS on the kernel's server: $(tail -n 1 "$log")"; return; fi
  read -r p f < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1; echo 0 0)
  count_tests "NFS on the kernel's server" "$status" "$p" "$f" 0
}
