import assert from "node:assert/strict";
import { test } from "node:test";
import { formatPodManifest, parsePodManifest } from "../../shared/schema/pod-manifest.ts";
import type { PodManifest } from "../../shared/schema/types.ts";
import { quickSummary, strictSummary } from "./inspect.ts";

const id = (digit: string): string => `sha512-${digit.repeat(128)}`;
const app = { exec: ["/bin/x"], user: "0", group: "0" };

const MANIFESTS: object[] = [
  { apps: [{ name: "one", image: { id: id("a"), name: "example.com/one", labels: [] }, app }] },
  {
    apps: [
      { name: "first", image: { id: id("a"), name: "example.com/one" }, app, readOnlyRootFS: true },
      { name: "second-2", image: { id: id("b") }, app, annotations: [{ name: "note", value: "x" }] },
    ],
    annotations: [
      { name: "coreos.com/rocket/layout-version", value: "1" },
      { name: "coreos.com/rocket/created", value: "2026-01-02T03:04:05.678Z" },
    ],
    volumes: [{ name: "data", kind: "empty" }],
    ports: [{ name: "web", hostPort: 80 }],
  },
  {
    apps: [{ name: "no-date", image: { id: id("c"), name: "example.com/c" }, app }],
    annotations: [{ name: "coreos.com/rocket/layout-version", value: "1" }],
  },
  {
    apps: [{ name: "other", image: { id: id("c") }, app }],
    annotations: [{ name: "coreos.com/rocket/layout-version", value: "2" }],
  },
].map((one) => ({ acVersion: "0.8.11", acKind: "PodManifest", ...one }));

const written = (manifest: object): string => formatPodManifest(parsePodManifest(JSON.stringify(manifest)) as PodManifest);

/** What the strict reader makes of the text; undefined if it refuses. */
function strict(text: string) {
  try {
    return strictSummary("uuid", parsePodManifest(text));
  } catch {
    return undefined;
  }
}

test("the quick reader of a list says of every manifest of ours what the strict reader says", () => {
  const quick = MANIFESTS.map((manifest) => quickSummary(written(manifest)));
  assert.deepEqual(
    quick.map((one) => one !== undefined),
    [false, true, true, false],
    "it leaves those without a layout version of ours to the strict reader",
  );
  for (const [i, manifest] of MANIFESTS.entries()) {
    if (quick[i] !== undefined) assert.deepEqual(quick[i], strict(written(manifest)));
  }
});

/** Every value that a JSON document has, each replaced by each of these, removed, and doubled. */
const REPLACEMENTS: unknown[] = [null, true, 0, -1, 1e300, "", "x", "X y", "a\nb", "1", "2", "toString", [], {}, [{}], ["x"], { name: "x" }];

function* mutations(value: unknown): Generator<unknown> {
  yield* REPLACEMENTS;
  if (Array.isArray(value)) {
    for (const [i, item] of value.entries()) {
      yield value.toSpliced(i, 1);
      yield [...value, item];
      for (const other of mutations(item)) yield value.with(i, other);
    }
  } else if (typeof value === "object" && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      const { [key]: _, ...rest } = value as Record<string, unknown>;
      yield rest;
      yield { ...rest, [`${key}x`]: item };
      for (const other of mutations(item)) yield { ...value, [key]: other };
    }
  }
}

test("the quick reader of a list never contradicts the strict reader, whatever is wrong with a manifest", () => {
  let agreed = 0;
  for (const manifest of MANIFESTS) {
    for (const mutated of mutations(JSON.parse(written(manifest)))) {
      const text = JSON.stringify(mutated);
      const quick = quickSummary(text);
      const slow = quick === undefined ? undefined : strict(text);
      if (quick === undefined || slow === undefined) continue;
      assert.deepEqual(quick, slow, text);
      agreed++;
    }
  }
  assert.ok(agreed > 100, `${agreed} manifests that both read`);
});
