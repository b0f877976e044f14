/** Manifests that were written for earlier versions of the specification, run as they are. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { makeAci } from "../fixtures/aci.ts";
import { makeRkt, type Rkt, requires, scratchFile } from "../helpers/rkt.ts";

const busybox = () => ({ name: "rootfs/bin/busybox", mode: 0o755, data: readFileSync("/bin/busybox") });
const entry = (name: string, data: string) => ({ name: `rootfs/${name}`, mode: 0o644, data: Buffer.from(data) });

interface Image {
  path: string;
  sha256: string;
  sha512: string;
}

/** An image of 0.1.0, uncompressed, so that its hashes are its file's. */
function image(rkt: Rkt, name: string, more: object, entries: Parameters<typeof makeAci>[0] = []): Image {
  const bytes = makeAci(entries, JSON.stringify({ acVersion: "1.0.0", acKind: "ImageManifest", name, ...more }));
  const path = join(rkt.scratch, `${name.replaceAll("/", "-")}.aci`);
  writeFileSync(path, bytes);
  const hash = (type: string) => `${type}-${createHash(type).update(bytes).digest("hex")}`;
  return { path, sha256: hash("sha256"), sha512: hash("sha512") };
}

const fetchAll = (rkt: Rkt, ...images: Image[]) =>
  rkt.ok(["--insecure-options=image", "fetch", ...images.map(({ path }) => path)]);

test("a dependency by its SHA-256, whole or the first 40 digits, and by a placeholder", (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  const base = image(rkt, "example.com/base", {}, [busybox(), entry("base", "the base\n")]);
  fetchAll(rkt, base);
  const app = { exec: ["/bin/busybox", "cat", "/base"], user: "0", group: "0" };
  for (const hash of [base.sha256, base.sha256.slice(0, "sha256-".length + 40), "sha512-..."]) {
    const dependencies = [{ name: "example.com/base", hash, root: "/" }];
    const { path } = image(rkt, "example.com/worker", { app, dependencies }, [entry("own", hash)]);
    assert.equal(rkt.ok(["--insecure-options=image", "run", path]).stdout, "the base\n", hash);
  }
  const wrong = `sha256-${"0".repeat(64)}`;
  const { path } = image(rkt, "example.com/worker", { app, dependencies: [{ name: "example.com/base", hash: wrong }] });
  rkt.fails(
    ["--insecure-options=image", "run", "--pull-policy=never", path],
    254,
    /dependency of image example.com\/worker: image example.com\/base is not in the store/,
  );
});

const run = (script: string) => ({ exec: ["/bin/busybox", "sh", "-c", script], user: "0", group: "0" });
const mountPoints = [{ name: "database", path: "/db" }];

/** Each says that the file of the volume is there, by the app or apps of one image. */
const manifests: [name: string, manifest: (image: Image, source: string) => object][] = [
  [
    "0.1.0",
    ({ sha256 }, source) => ({
      ...{ acVersion: "0.1.0", acKind: "ContainerRuntimeManifest", uuid: "6733C088-A507-4694-AABF-EDBE4FC5266F" },
      apps: [{ app: "example.com/worker", imageID: sha256, isolators: [], annotations: { foo: "baz" } }],
      volumes: [{ kind: "host", source, readOnly: true, fulfills: ["database"] }],
      isolators: [],
      annotations: { "ip-address": "10.1.2.3" },
    }),
  ],
  [
    "0.3.0",
    ({ sha512 }, source) => ({
      ...{ acVersion: "0.3.0", acKind: "ContainerRuntimeManifest" },
      apps: [{ name: "example.com/worker", imageID: sha512, mounts: [{ volume: "work", mountPoint: "database" }] }],
      volumes: [{ name: "work", kind: "host", source }],
    }),
  ],
  [
    "0.4.0",
    ({ sha512 }, source) => ({
      ...{ acVersion: "0.4.0", acKind: "ContainerRuntimeManifest" },
      apps: [
        {
          name: "example.com/worker",
          image: { id: sha512 },
          app: { ...run("cat /db/file; echo over"), mountPoints },
          mounts: [{ volume: "work", mountPoint: "database" }],
        },
      ],
      volumes: [{ name: "work", kind: "host", source }],
    }),
  ],
  [
    "0.6.1",
    ({ sha512 }, source) => ({
      ...{ acVersion: "0.6.1", acKind: "PodManifest" },
      apps: [{ name: "w", image: { id: sha512 }, mounts: [{ volume: "work", mountPoint: "database" }] }],
      volumes: [{ name: "work", kind: "host", source }],
    }),
  ],
  [
    "a template",
    (_, source) => ({
      ...{ acVersion: "0.8.11", acKind: "PodManifest" },
      apps: [
        {
          name: "w",
          image: { name: "example.com/worker", labels: [{ name: "version", value: "1" }] },
          mounts: [{ volume: "work", path: "/db" }],
        },
      ],
      volumes: [{ name: "work", kind: "host", source }],
    }),
  ],
];
for (const [name, manifest] of manifests)
  test(`--pod-manifest of ${name}`, (t) => {
    if (!requires(t, "root", "build", "overlay")) return;
    const rkt = makeRkt(t);
    const labels = [{ name: "version", value: "1" }];
    const worker = image(rkt, "example.com/worker", { labels, app: { ...run("cat /db/file"), mountPoints } }, [
      busybox(),
    ]);
    fetchAll(rkt, worker);
    const source = join(rkt.scratch, "work");
    mkdirSync(source);
    writeFileSync(join(source, "file"), "of the volume\n");
    const file = scratchFile(rkt, "pod.json", JSON.stringify(manifest(worker, source)));
    const { stdout } = rkt.ok(["--insecure-options=image", "run", `--pod-manifest=${file}`]);
    assert.equal(stdout, `of the volume\n${name === "0.4.0" ? "over\n" : ""}`);
  });

test("a mount at a mount point that is not there", (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  const worker = image(rkt, "example.com/worker", { app: run("true") }, [busybox()]);
  fetchAll(rkt, worker);
  const file = scratchFile(
    rkt,
    "pod.json",
    JSON.stringify({
      ...{ acVersion: "0.6.0", acKind: "PodManifest" },
      apps: [{ name: "w", image: { id: worker.sha512 }, mounts: [{ volume: "v", mountPoint: "nowhere" }] }],
      volumes: [{ name: "v", kind: "empty" }],
    }),
  );
  rkt.fails(["run", `--pod-manifest=${file}`], 254, /app w: there is no mount point "nowhere"\nhint: /);
});
