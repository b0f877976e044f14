import assert from "node:assert/strict";
import { test } from "node:test";
import { bareApp } from "../../shared/schema/image-manifest.ts";
import type { Isolator, PodManifest } from "../../shared/schema/types.ts";
import { checkIsolators } from "./isolators.ts";

function manifest(ofContainer: Isolator[], ofApp: Isolator[]): PodManifest {
  return {
    acVersion: "0.8.11",
    acKind: "PodManifest",
    apps: [
      {
        name: "web",
        image: { id: `sha512-${"0".repeat(128)}`, labels: [] },
        app: { ...bareApp(["/x"]), isolators: ofApp },
        readOnlyRootFS: false,
        mounts: [],
        annotations: [],
      },
    ],
    volumes: [],
    isolators: ofContainer,
    annotations: [],
    ports: [],
    userAnnotations: {},
    userLabels: {},
  };
}

test("isolators without effect are named, enforced ones are not", () => {
  const limited: Isolator[] = [
    { name: "resource/memory", value: { limit: "1Mi" } },
    { name: "resource/cpu", value: { limit: "1m" } },
    { name: "os/linux/cpu-shares", value: 2 },
  ];
  const ofApp: Isolator = { name: "os/linux/no-new-privileges", value: true };
  const rate = { default: true, limit: "1M" };
  assert.deepEqual(checkIsolators(manifest(limited, [...limited, ofApp])), []);
  assert.deepEqual(
    checkIsolators(
      manifest(
        [ofApp, { name: "a/b", value: null }],
        [
          { name: "resource/network-bandwidth", value: rate },
          { name: "a/c", value: null },
        ],
      ),
    ),
    [
      "the container: the isolator a/b is unknown and has no effect",
      "the container: the isolator os/linux/no-new-privileges is not enforced and has no effect",
      "app web: the isolator a/c is unknown and has no effect",
      "app web: the isolator resource/network-bandwidth is not enforced and has no effect",
    ],
  );
});

const refused: { name: string; isolator: Isolator; message: string }[] = [
  {
    name: "less memory than starts",
    isolator: { name: "resource/memory", value: { limit: "1048575" } },
    message: "nothing can start in 1048575 bytes of memory",
  },
  {
    name: "no processor time",
    isolator: { name: "resource/cpu", value: { limit: "0" } },
    message: "nothing can run with a limit of no processor time",
  },
];
for (const c of refused)
  for (const [whose, pod] of [
    ["the container", manifest([c.isolator], [])],
    ["app web", manifest([], [c.isolator])],
  ] as const)
    test(`${c.name}, of ${whose}`, () => {
      assert.throws(() => checkIsolators(pod), { code: "bad-isolator", message: `${whose}: ${c.message}` });
    });
