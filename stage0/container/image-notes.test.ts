import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { hostPath } from "../../shared/contract/paths.ts";
import { bareApp } from "../../shared/schema/image-manifest.ts";
import type { PodManifest } from "../../shared/schema/types.ts";
import { imageNotes } from "./image-notes.ts";

type Thing = string | { link: string } | "directory" | "program";

const TREE: Record<string, Thing> = {
  "/bin/app": "program",
  "/bin/text": "text",
  "/srv/files/one": "x",
  "/srv/empty": "directory",
  "/srv/loop": { link: "loop" },
  "/srv/by-link": { link: "/srv/files" },
  "/srv/up": { link: "../../../../../.." },
};

function makeTree(t: TestContext, things: Record<string, Thing>): string {
  const root = mkdtempSync(join(tmpdir(), "rkt-image-notes-"));
  t.after(() => rmSync(root, { recursive: true }));
  for (const [name, thing] of Object.entries(things)) {
    const path = join(root, name);
    mkdirSync(dirname(path), { recursive: true });
    if (typeof thing === "object") symlinkSync(thing.link, path);
    else if (thing === "directory") mkdirSync(path, { recursive: true });
    else writeFileSync(path, thing);
    if (thing === "program") chmodSync(path, 0o755);
  }
  return root;
}

/** Volumes are called v0, v1, … in the order of `mounts`, unless `volume` names one for all. */
const apps = (...list: { name: string; exec?: string; mounts?: string[]; volume?: string }[]): PodManifest => ({
  acVersion: "0.8.11",
  acKind: "PodManifest",
  apps: list.map(({ name, exec = "/bin/app", mounts = [], volume }) => ({
    name,
    image: { id: `sha512-${"0".repeat(128)}`, labels: [] },
    app: bareApp([exec]),
    readOnlyRootFS: false,
    mounts: mounts.map((path, i) => ({ volume: volume ?? `v${i}`, path })),
    annotations: [],
  })),
  volumes: [],
  isolators: [],
  annotations: [],
  ports: [],
  userAnnotations: {},
  userLabels: {},
});

const hidden: { name: string; things?: Record<string, Thing>; mounts: string[]; notes: string[] }[] = [
  {
    name: "directories with something in them and files are hidden, others not",
    mounts: ["/srv/files", "/srv/empty", "/bin//text", "/new"],
    notes: ["v0 /srv/files", "v2 /bin/text"],
  },
  { name: "what a link leads to is hidden", mounts: ["/srv/by-link"], notes: ["v0 /srv/by-link"] },
  { name: "a link that leads nowhere hides nothing", mounts: ["/srv/loop"], notes: [] },
  { name: "a link never leads out of the image", mounts: ["/srv/up"], notes: ["v0 /srv/up"] },
  { name: "within another volume nothing is hidden again", mounts: ["/srv", "/srv/files"], notes: ["v0 /srv"] },
  {
    name: "the kernel's file systems hide it already",
    things: { "/bin/app": "program", "/dev/x": "x" },
    mounts: ["/dev/x"],
    notes: [],
  },
];

for (const { name, things = TREE, mounts, notes } of hidden)
  test(`image notes: ${name}`, (t) => {
    const root = makeTree(t, things);
    const told = notes.map((note) => note.split(" "));
    assert.deepEqual(
      imageNotes(apps({ name: "x", mounts }), () => hostPath(root)),
      told.map(([volume, path]) => `app x: volume "${volume}" hides what the image has at ${path}`),
    );
  });

test("image notes: a volume that begins as what an app's image has hides nothing of that app's", (t) => {
  const root = makeTree(t, TREE);
  const two = ["one", "two"].map((name) => ({ name, mounts: ["/srv/files"], volume: "v" }));
  assert.deepEqual(
    imageNotes(apps(...two), () => hostPath(root), new Map([["v", "one"]])),
    ['app two: volume "v" hides what the image has at /srv/files'],
  );
});

test("image notes: systemd as an app is told to end at once, by whatever link it is called", (t) => {
  const root = makeTree(t, { ...TREE, "/lib/systemd/systemd": "program", "/sbin/init": { link: "../lib/systemd/systemd" } });
  for (const exec of ["/sbin/init", "/lib/systemd/systemd"]) {
    const [note = "", ...others] = imageNotes(apps({ name: "os", exec }), () => hostPath(root));
    assert.deepEqual(others, []);
    assert.match(note, /^warning: app os: its program is systemd, .* will end at once/);
  }
});
