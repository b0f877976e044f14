import assert from "node:assert/strict";
import { test } from "node:test";
import { bareApp } from "../shared/schema/image-manifest.ts";
import { formatPodManifest, parsePodManifest } from "../shared/schema/pod-manifest.ts";
import type { PodManifest, RuntimeApp } from "../shared/schema/types.ts";
import { withoutOtherApps } from "./without-other-apps.ts";

const section = (name: string, value: string): RuntimeApp => ({
  name,
  image: { id: `sha512-${"0".repeat(128)}`, labels: [] },
  app: { ...bareApp(["/x"]), environment: [{ name: "OF", value }] },
  readOnlyRootFS: false,
  mounts: [{ volume: "data", path: `/${name}` }],
  annotations: [{ name: "example.com/of", value }],
});

const manifest: PodManifest = {
  acVersion: "0.8.11",
  acKind: "PodManifest",
  apps: [section("db", 'secret "}],\\'), section("web", "own {[\\\""), section("cache", "secret ü")],
  volumes: [{ name: "data", kind: "empty" }],
  isolators: [],
  annotations: [{ name: "example.com/pod", value: "apps" }],
  ports: [],
  userAnnotations: {},
  userLabels: {},
};

const texts: [string, string][] = [
  ["as stage 0 writes it", formatPodManifest(manifest)],
  ["in one line", JSON.stringify(JSON.parse(formatPodManifest(manifest)))],
  ["by names in another case, and with escapes", formatPodManifest(manifest).replace('"apps"', '"App\\u0073"').replace('"web"', '"w\\u0065b"')],
];

for (const [name, text] of texts)
  test(`of other apps the names and images are left: ${name}`, () => {
    const left = withoutOtherApps(Buffer.from(text), "web");
    assert.doesNotMatch(left.toString(), /secret/);
    const parsed = parsePodManifest(left);
    const whole = parsePodManifest(text);
    const others = whole.apps.map((app) => ({ ...app, app: undefined, mounts: [], annotations: [] }));
    assert.deepEqual(parsed, { ...whole, apps: [others[0], whole.apps[1], others[2]] });
  });

test("what is wrong with a manifest is for its parser to say", () => {
  const whole = formatPodManifest(manifest);
  for (let length = 0; length < whole.length - 1; length += 7)
    assert.throws(() => parsePodManifest(withoutOtherApps(Buffer.from(whole.slice(0, length)), "web")), /container manifest/);
  const others = ["", "[]", "[[", '{"apps": 1}', '{"apps": [1, "x", {}, {"name": 1}]}', '{"apps": {"name": "web"}}', '{,}', '{"a":}', '{"apps" []}'];
  for (const text of others) assert.equal(withoutOtherApps(Buffer.from(text), "web").toString(), text);
});
