# The kernel's NFS server in the guest, its disks and their faults. Sourced by nfs.sh.

# Where mountd listens, for version 3 without rpcbind.
MOUNT_PORT=20048

# For the tests of the driver (/srv/...), and, below the root, for those of the client without a mount: the same exports as
# those of scripts/servers/nfs/ganesha.
exports() {
  local host options=sync,no_subtree_check,no_root_squash
  # A server's root is above all quotas.
  local squashed=sync,no_subtree_check,all_squash,anonuid=5000,anongid=5000
  for host in 127.0.0.1 ::1; do
    cat <<E2
/srv/nfs $host(rw,$options,fsid=11)
/srv/ro $host(ro,$options,fsid=12)
/srv/small $host(rw,$options,fsid=13)
/srv/quota $host(rw,$squashed,fsid=14)
/srv/project $host(rw,$squashed,fsid=15)
/export $host(rw,$options,insecure,fsid=21)
/readonly $host(ro,$options,insecure,fsid=22)
/small $host(rw,$options,insecure,fsid=23)
/secure $host(rw,$options,fsid=24)
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
# After a stop whose clients have nothing to take up again.
server_is_back() { server_starts; echo Y >/proc/fs/nfsd/v4_end_grace; }

# Quotas of a user (what all clients of /srv/quota are), and of a folder (/srv/project), as administrators set them on a
# share: 4 MiB each.
quotas() {
  mount -o usrquota /dev/mapper/quota quota && mount -o prjquota /dev/mapper/project project || broken "not mounted"
  setquota -u 5000 0 4096 0 0 /exported/srv/quota || broken "no quota"
  chown 5000:5000 quota project
  chattr -p 77 +P project && setquota -P 77 0 4096 0 0 /exported/srv/project || broken "no quota of a folder"
}

prepare_server() {
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
  disk project 64 -O quota,project -I 256
  cd /exported/srv || broken "no folder"
  mount /dev/mapper/nfs nfs && mount /dev/mapper/small small || broken "not mounted"
  quotas
  mkdir -p ro none ../export ../readonly ../secure ../small
  mount --bind nfs ro && mount --bind nfs ../export && mount --bind nfs ../readonly && mount --bind nfs ../secure &&
    mount --bind small ../small || broken "not bound"
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
  rpc.mountd -p "$MOUNT_PORT" || broken "no mountd"
  echo Y >/proc/fs/nfsd/v4_end_grace
}
