import assert from "node:assert/strict";
import { test } from "node:test";
import { LOOPBACK_RULES, releaseHostSettings } from "./host-settings.ts";

test("packets of 127.0.0.0/8 come from loopback", () => {
  assert.equal(
    LOOPBACK_RULES,
    `*raw
:RKT-LOOPBACK - [0:0]
-A RKT-LOOPBACK ! -i lo -d 127.0.0.0/8 -j DROP
-A RKT-LOOPBACK ! -i lo -s 127.0.0.0/8 -j DROP
-A PREROUTING -j RKT-LOOPBACK
COMMIT
`,
  );
});

test("the release of an attachment", () => {
  const text = releaseHostSettings({ containerId: "5ab862c3", ifName: "eth1", conf: { name: "it's" } } as never);
  assert.equal(
    text,
    `exec 6>>'/run/rkt/net/.settings.lock' && flock 6 || exit 1
rm -f '/run/rkt/net/settings/users/5ab862c3-eth1-it'\\''s'
if rmdir '/run/rkt/net/settings/users' 2>/dev/null; then
  { iptables -w -t raw -D PREROUTING -j RKT-LOOPBACK; iptables -w -t raw -F RKT-LOOPBACK; iptables -w -t raw -X RKT-LOOPBACK; } 2>/dev/null
  if [ -e '/run/rkt/net/settings/changed' ]; then
    while read -r setting; do
      case $setting in
      net/ipv4/ip_forward) ! iptables-save 2>/dev/null | grep -qE '^-A (FORWARD|POSTROUTING) ' || continue ;;
      net/ipv6/conf/all/forwarding) ! ip6tables-save 2>/dev/null | grep -qE '^-A (FORWARD|POSTROUTING) ' || continue ;;
      esac
      { echo 0 >"/proc/sys/$setting"; } 2>/dev/null
    done <'/run/rkt/net/settings/changed'
  fi
  rm -rf '/run/rkt/net/settings'
fi
exec 6>&-
`,
  );
});
