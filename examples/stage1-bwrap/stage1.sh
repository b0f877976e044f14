#!stage1/rootfs/usr/bin/busybox sh
# A stage1 with bubblewrap as the isolator: the one app of a container has a mount, PID, IPC and UTS namespace.
# init, enter, stop and gc are links to it; it starts in the container directory.
set -eu
PATH=stage1/rootfs/usr/bin
usr=stage1/rootfs/usr
manifest() { chroot stage1/rootfs /usr/bin/jq --raw-output "$1" <container; }
# The first child of a process.
child() { set -- $(cat "/proc/$1/task/$1/children") && echo "$1"; }

case ${0##*/} in
init)
  [ "$(manifest '.apps | length')" = 1 ] || { echo 'stage1-bwrap: one app, please' >&2; exit 254; }
  # No app can write to a program that was executed to start it (CVE-2019-5736).
  mount -o bind $usr $usr && mount -o remount,bind,ro $usr $usr
  app=$(manifest '.apps[0].name')
  eval "set -- $(manifest '.apps[0].app |
    [(.environment[]? | "--setenv", .name, .value), "--chdir", (.workingDirectory // "/"), "--", .exec[]] | @sh')"
  # It runs on the host, which need not have it: with the image's own loader and libraries.
  set -- stage1/rootfs/usr/lib64/ld-linux-x86-64.so.2 --library-path stage1/rootfs/usr/lib/x86_64-linux-gnu \
    stage1/rootfs/usr/bin/bwrap --bind stage1/rootfs/opt/stage2/*/rootfs / --proc /proc --dev /dev --ro-bind /sys /sys \
    --unshare-pid --unshare-ipc --unshare-uts --hostname "$app" --die-with-parent --clearenv "$@"
  exec 8<&0 # A shell gives /dev/null to what it starts in the background.
  # The lock stays with this shell: it is held until the app has ended and its status is written.
  (eval "exec $RKT_LOCK_FD>&-" && exec "$@") <&8 8<&- &
  # bubblewrap's first child is PID 1 of the namespace, and the app is its child.
  trap 'kill $(child $(child $!))' TERM INT
  echo $$ >pid.new && mv pid.new pid
  until wait $! && status=0 || status=$?; ! kill -0 $! 2>&-; do :; done
  echo $status >status/new && mv status/new "status/$app"
  exit $status
  ;;
enter) # --pid=PID --app=NAME -- COMMAND...
  inside=$(child "$(child "${1#--pid=}")")
  shift 3 && exec nsenter -t "$inside" -m -u -i -p -r -w -- "$@"
  ;;
stop) # --pid=PID [--force]
  inside=$(child "$(child "${1#--pid=}")")
  if [ $# = 2 ]; then kill -KILL "$inside"; else kill "$(child "$inside")"; fi
  ;;
gc) ;; # Nothing of it is outside of the container directory.
esac
