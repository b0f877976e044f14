import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePodManifest } from "../../shared/schema/pod-manifest.ts";
import { furtherCapabilities } from "./capabilities.ts";

function manifest(...sets: string[][]) {
  return parsePodManifest(
    JSON.stringify({
      acKind: "PodManifest",
      acVersion: "0.8.11",
      apps: sets.map((set, i) => ({
        name: `app${i}`,
        image: { id: `sha512-${"0".repeat(128)}` },
        app: {
          exec: ["/x"],
          user: "0",
          group: "0",
          isolators: [{ name: "os/linux/capabilities-retain-set", value: { set } }],
        },
      })),
    }),
  );
}

const own = { ownNetwork: true, ownUsers: false };
const cases: { name: string; sets: string[][]; of: typeof own; expected: string[] }[] = [
  {
    name: "one app retains it",
    sets: [["CAP_KILL"], ["CAP_KILL", "CAP_NET_ADMIN"]],
    of: own,
    expected: ["CAP_NET_ADMIN"],
  },
  { name: "no app does", sets: [["CAP_KILL"], ["CAP_NET_RAW"]], of: own, expected: [] },
  { name: "others are the host's", sets: [["CAP_SYS_TIME", "CAP_SYS_MODULE"]], of: own, expected: [] },
  { name: "the network is the host's", sets: [["CAP_NET_ADMIN"]], of: { ...own, ownNetwork: false }, expected: [] },
  {
    name: "the users are the container's own",
    sets: [["CAP_NET_ADMIN"]],
    of: { ...own, ownUsers: true },
    expected: [],
  },
];
for (const c of cases)
  test(`CAP_NET_ADMIN: ${c.name}`, () => assert.deepEqual(furtherCapabilities(manifest(...c.sets), c.of), c.expected));
