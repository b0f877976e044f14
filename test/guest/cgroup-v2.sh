#!/bin/sh
# Runs the built rkt on a host with cgroup v2 alone: a guest of qemu, emulated (about a minute and a half), with Debian's
# kernel and nothing but busybox. Part of `npm test` (cgroup-v2.test.ts). apt downloads the kernel's package into the
# directory that the first argument names, if it is not there.
#
# Ends with 0 when all checks in the guest were good; prints the guest's console.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

packages=${1:-$work}
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/ *Depends: //p')
set -- "$packages/$package"_*.deb
[ -e "$1" ] || (cd "$packages" && apt-get download "$package" >/dev/null 2>&1)
dpkg -x "$packages/$package"_*.deb kernel

mkdir -p guest/bin guest/dev guest/proc guest/sys guest/new guest/etc guest/usr/lib guest/run guest/tmp
cp "$root/dist/rkt" "$root/dist/stage1-nspawn.aci" "$root/dist/examples/busybox.aci" guest/
# In the order of their dependencies.
modules="virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk overlay llc stp bridge veth"
for module in $modules; do cp "$(find kernel -name $module.ko)" guest/; done
# rkt's data directory: with --private-users its file system must take idmapped mounts, which tmpfs does since Linux 6.3.
truncate -s 2G disk
mkfs.ext4 -q disk
mkdir -p guest/etc/rkt/net.d
cat >guest/etc/rkt/net.d/lan.conf <<'END'
{"cniVersion": "1.0.0", "name": "lan", "type": "bridge", "bridge": "lan0", "isGateway": true,
 "ipam": {"type": "host-local", "subnet": "10.9.8.0/24"}}
END
cp "$(command -v busybox)" "$(command -v flock)" guest/bin/
echo ID=guest >guest/usr/lib/os-release
ldd "$root/dist/rkt" | grep -o '/[^ ]*' | while read -r library; do
  mkdir -p "guest$(dirname "$library")"
  cp -L "$library" "guest$library"
done

# The first root file system can't be left by pivot_root(2): a tmpfs takes its place.
cat >guest/init <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t tmpfs -o size=2500m tmpfs /new
for name in *; do [ "$name" = new ] || cp -a "$name" /new/; done
exec switch_root /new /bin/sh /checks
END
chmod 755 guest/init

echo "modules='$modules'" >guest/checks
cat >>guest/checks <<'END'
PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for module in $modules; do insmod /$module.ko; done
mkdir /data
mount -t ext4 /dev/vda /data
ip link set lo up
# As in a login session: not alone in a cgroup that passes nothing on.
mkdir /sys/fs/cgroup/session
echo $$ >/sys/fs/cgroup/session/cgroup.procs

rkt() { /rkt --dir=/data "$@"; }
bad=0
# check NAME STATUS TEXT COMMAND...: its exit status, and a line of what it says.
check() {
  name=$1 status=$2 text=$3
  shift 3
  "$@" >/out 2>&1
  got=$?
  if [ $got = "$status" ] && grep -qx "$text" /out; then
    echo "good: $name"
  else
    echo "BAD: $name: status $got"
    cat /out
    bad=1
  fi
}
shell="--exec=/bin/sh -- -c"

# An app's own cgroup is the root of all that it sees.
check "no limit" 0 "0::/" rkt run /busybox.aci $shell 'cat /proc/self/cgroup'
check "a sysfs of its own" 0 "lo has cgroups" rkt run --net=none /busybox.aci $shell 'cd /sys; echo $(ls class/net; [ -e fs/cgroup/cgroup.procs ] && echo has cgroups)'
read_all="cd /sys/fs/cgroup; echo \$(cat memory.max memory.swap.max cpu.max cpu.weight)"
check "limits" 0 "64000000 0 25000 100000 10" rkt run /busybox.aci --memory=64M --cpu=250m $shell "$read_all"
check "limits with users of its own" 0 "64000000 0 25000 100000 10" rkt run --private-users /busybox.aci --memory=64M --cpu=250m $shell "$read_all"
check "a cgroup of its own with users of its own" 0 "0::/" rkt run --private-users /busybox.aci --memory=64M $shell 'cat /proc/self/cgroup'
check "users of its own" 0 65536 rkt run --private-users /busybox.aci --memory=64M $shell 'set -- $(cat /proc/self/uid_map); [ $2 != 0 ] && echo $3'
check "one mount, from its root on" 0 "/ /sys/fs/cgroup 1" rkt run /busybox.aci $shell \
  'grep -F " - cgroup2 " /proc/self/mountinfo | { read -r id parent device root at rest; echo "$root $at $(($(wc -l) + 1))"; }'
check "no other's" 0 "none" rkt run /busybox.aci --name=one $shell 'sleep 2' --- /busybox.aci --name=two $shell \
  'ls -d /sys/fs/cgroup/*/ 2>/dev/null || echo none'
check "not to be written" 0 "refused" rkt run /busybox.aci --memory=64M $shell \
  'echo max >/sys/fs/cgroup/memory.max || echo $$ >/sys/fs/cgroup/cgroup.procs || mkdir /sys/fs/cgroup/x || echo refused'
check "more than the limit" 137 "" rkt run /busybox.aci --memory=32Mi $shell 'echo; exec tail /dev/zero'
check "more than the limit, with users of its own" 137 "" rkt run --private-users /busybox.aci --memory=32Mi $shell 'echo; exec tail /dev/zero'
check "the least" 0 started rkt run /busybox.aci --memory=24Mi $shell 'echo started'
check "less" 2 "rkt: run: --memory .16Mi.: must be at least 24Mi" rkt run /busybox.aci --memory=16Mi $shell true

rkt run --uuid-file-save=/uuid /busybox.aci --memory=64Mi $shell 'echo up; sleep 1000' >/up &
until grep -q up /up 2>/dev/null; do sleep 1; done
uuid=$(cat /uuid)
check "further up, where there are controllers" 0 "67108864" cat "/sys/fs/cgroup/rkt-$uuid/payload/system.slice/app-busybox.service/memory.max"
for file in max rsvd.max; do check "no huge pages: $file" 0 0 cat "/sys/fs/cgroup/rkt-$uuid/hugetlb.2MB.$file"; done
check "enter" 0 "0::/" rkt enter "$uuid" /bin/cat /proc/self/cgroup
check "enter sees the limit" 0 "67108864" rkt enter "$uuid" /bin/cat /sys/fs/cgroup/memory.max
check "top" 0 "${uuid%%-*} .*64.0 MiB" rkt top
rkt stop "$uuid"
wait

# All processes of an app are asked to end, not its first alone; and its own streams are its user's.
rkt run --uuid-file-save=/uuid /busybox.aci --stop-timeout=20s $shell \
  'sh -c "trap \"echo child was asked; exit\" TERM; echo up; while :; do sleep 0.1; done" & trap "exit 3" TERM; wait' >/asked &
until grep -q up /asked 2>/dev/null; do sleep 1; done
rkt stop "$(cat /uuid)"
wait
check "a child is asked to end" 0 "child was asked" cat /asked
check "a user's own stdout" 0 works rkt run /busybox.aci --user=33 --group=33 --working-dir=/ $shell 'echo works >/dev/stdout'

mkdir /sys/fs/cgroup/delegated
echo "+memory +cpu" >/sys/fs/cgroup/cgroup.subtree_control
alone='echo $$ >/sys/fs/cgroup/delegated/cgroup.procs; exec /rkt --dir=/data run --uuid-file-save=/uuid /busybox.aci --memory=64Mi'
sh -c "$alone $shell 'echo up; sleep 1000'" >/alone &
until grep -q up /alone 2>/dev/null; do sleep 1; done
check "below a delegated cgroup" 0 "0::/delegated/rkt-.*" sh -c 'cat /proc/$(cat /data/containers/run/$(cat /uuid)/pid)/cgroup'
rkt stop "$(cat /uuid)"
wait

check "a network" 0 "64 bytes from 10.9.8.1: .*" rkt run --net=lan /busybox.aci $shell 'ping -c 1 -w 20 10.9.8.1'

rkt gc --grace-period=0s >/dev/null
check "nothing of the network is left" 1 "" sh -c 'echo; ls /run/rkt/net/containers | grep .; ip link | grep veth'
check "nothing is left" 1 "" sh -c 'echo; find /sys/fs/cgroup -name "rkt-*" | grep .'
[ $bad = 0 ] && echo "all good"
poweroff -f
END

(cd guest && find . | busybox cpio -o -H newc 2>/dev/null) >initrd
timeout 1100 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 5000 -smp 2 -nographic -no-reboot \
  -drive file=disk,format=raw,if=virtio,cache=unsafe -kernel kernel/boot/vmlinuz-* -initrd initrd -append "console=ttyS0 quiet panic=-1" </dev/null | tee console
grep -q "^all good" console
