import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import type { KnownIsolators } from "../shared/schema/isolators.ts";
import { CAPABILITIES } from "../shared/schema/capabilities.ts";
import { boundingSet, capabilityMask, capabilityNames } from "./capabilities.ts";

// The text of ace.md: "the following 14 capabilities".
const DEFAULT =
  "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP " +
  "CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SYS_CHROOT CAP_MKNOD CAP_AUDIT_WRITE CAP_SETFCAP";

const cases: { name: string; isolators: KnownIsolators; set: string }[] = [
  { name: "no isolator: the default set", isolators: {}, set: DEFAULT },
  {
    name: "remove-set takes from the default set (the spec's example)",
    isolators: { "os/linux/capabilities-remove-set": ["CAP_SYS_CHROOT", "CAP_MKNOD"] },
    set: DEFAULT.replace("CAP_SYS_CHROOT CAP_MKNOD ", ""),
  },
  {
    name: "removing what is not there has no effect",
    isolators: { "os/linux/capabilities-remove-set": ["CAP_SYS_ADMIN"] },
    set: DEFAULT,
  },
  {
    name: "retain-set stands alone (the spec's example)",
    isolators: { "os/linux/capabilities-retain-set": ["CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE"] },
    set: "CAP_NET_BIND_SERVICE CAP_NET_ADMIN",
  },
  {
    name: "retain-set may be everything",
    isolators: { "os/linux/capabilities-retain-set": [...CAPABILITIES] },
    set: CAPABILITIES.join(" "),
  },
];

for (const c of cases)
  test(c.name, () => {
    assert.equal(capabilityNames(boundingSet(c.isolators)).join(" "), c.set);
  });

test("numbers are those of libcap", () => {
  for (const name of CAPABILITIES) {
    const out = execFileSync("capsh", [`--decode=${capabilityMask([name]).toString(16)}`], { encoding: "utf8" });
    assert.equal(out.trim().split("=")[1], name.toLowerCase());
  }
});
