#!stage1/rootfs/usr/bin/busybox sh
# A whole stage1: runs the one app of a container in its root directory, as root, and isolates nothing else.
# init, enter, stop and gc are links to it; it starts in the container directory.
set -eu
PATH=stage1/rootfs/usr/bin
usr=stage1/rootfs/usr
root=$(echo stage1/rootfs/opt/stage2/*/rootfs)
manifest() { chroot stage1/rootfs /usr/bin/jq --raw-output "$1" <container; }

case ${0##*/} in
init)
  [ "$(manifest '.apps | length')" = 1 ] || { echo 'stage1-shell: one app, please' >&2; exit 254; }
  # No app can write to a program that was executed to start it (CVE-2019-5736).
  mount -o bind $usr $usr && mount -o remount,bind,ro $usr $usr
  for fs in dev proc sys; do mkdir -p "$root/$fs" && mount -o rbind "/$fs" "$root/$fs"; done
  eval "set -- $(manifest '.apps[0].app | [(.environment[]? | .name + "=" + .value), .exec[]] | @sh')"
  exec 8<&0 # A shell gives /dev/null to what it starts in the background.
  # The lock stays with this shell: it is held until the app has ended and its status is written.
  (eval "exec $RKT_LOCK_FD>&-" && exec chroot "$root" /usr/bin/env -i "$@") <&8 8<&- &
  trap 'kill $!' TERM INT
  echo $$ >pid.new && mv pid.new pid
  until wait $! && status=0 || status=$?; ! kill -0 $! 2>&-; do :; done
  echo $status >status/new && mv status/new "status/$(manifest '.apps[0].name')"
  exit $status
  ;;
enter) # --pid=PID --app=NAME -- COMMAND...
  shift 3 && exec chroot "$root" "$@"
  ;;
stop) # --pid=PID [--force]
  kill ${2+-KILL} $(cat "/proc/${1#--pid=}/task/${1#--pid=}/children")
  ;;
gc) ;; # Nothing of it is outside of the container directory.
esac
