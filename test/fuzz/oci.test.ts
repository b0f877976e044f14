/** OCI images that nobody would make: their documents, and their layers. */

import assert from "node:assert/strict";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OCI_ANNOTATIONS } from "../../shared/contract/annotations.ts";
import { formatImageManifest, parseImageManifest } from "../../shared/schema/image-manifest.ts";
import { completeLayer } from "../../stage0/archive/complete-layer.ts";
import { LAYER_LIMITS, LayerAlone, LayersMerged } from "../../stage0/archive/layer.ts";
import { TarReader } from "../../stage0/archive/tar-reader.ts";
import { parseConfiguration } from "../../stage0/oci/configuration.ts";
import { parseOciManifest } from "../../stage0/oci/manifest.ts";
import { toImageManifest } from "../../stage0/oci/to-appc.ts";
import { tar } from "../fixtures/aci.ts";
import { dir, file, hard, symlink } from "../fixtures/oci-images.ts";
import { ociImage } from "../helpers/oci.ts";
import { fuzz } from "./fuzz.ts";

const image = ociImage([[file("a")], [file("b")]], {
  over: { created: "2020-01-02T03:04:05Z", author: "x", variant: "v8", history: [{ created_by: "RUN", empty_layer: true }] },
  config: {
    User: "web:33",
    ExposedPorts: { "80/tcp": {}, "1-2/udp": {} },
    Env: ["A=b"],
    Entrypoint: ["/bin/sh"],
    Cmd: ["-c", "x"],
    Volumes: { "/var/lib": {} },
    WorkingDir: "/srv",
    Labels: { "org.example/Title": "t", created: "y" },
    StopSignal: "SIGRTMIN+3",
    Healthcheck: { Test: ["NONE"] },
  },
});

fuzz({
  name: "oci-manifest",
  seeds: [image.manifest],
  dictionary: ["sha256:", '"manifests":[]', '"schemaVersion":1', "application/vnd.docker.image.rootfs.diff.tar.gzip", "null", "[]", "{}"],
  run(input) {
    const { config, layers } = parseOciManifest(input);
    for (const { digest, size } of [config, ...layers]) {
      assert.match(digest, /^sha256:[0-9a-f]{64}$/);
      assert.ok(Number.isSafeInteger(size) && size >= 0);
    }
  },
});

fuzz({
  name: "oci-configuration",
  seeds: [image.config],
  dictionary: ["appc.io/executor/stop-signal", "coreos.com/rocket/account", "/..", "../", "\\u0000", "\\u001b", '"User":"0:0"', "null", "[]", "{}"],
  run(input) {
    const origin = { name: "example.com/x", reference: "docker://example.com/x:1", digest: `sha256:${"0".repeat(64)}` };
    const manifest = toImageManifest(parseConfiguration(input), origin);
    // Whatever passes the reader has a manifest, and asks for nothing.
    const read = parseImageManifest(formatImageManifest(manifest));
    assert.deepEqual(read.app?.isolators, []);
    assert.deepEqual(read.app?.eventHandlers, []);
    assert.deepEqual(read.dependencies, []);
    const own = read.annotations.filter(({ name }) => name.startsWith("coreos.com/"));
    const known = ["coreos.com/rocket/account", "coreos.com/rocket/make-working-directory", ...Object.values(OCI_ANNOTATIONS)];
    for (const { name } of own) assert.ok(known.includes(name), name);
  },
});

/** Right checksums: otherwise nearly no input would come further than the first header. */
function mended(input: Buffer): Buffer {
  const bytes = Buffer.from(input);
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    const block = bytes.subarray(at, at + 512);
    if (block.toString("latin1", 257, 262) !== "ustar") continue;
    block.fill(" ", 148, 156);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  }
  return bytes;
}

const layers = [
  [dir("d"), file("d/a"), { name: "d/.wh.b" }, symlink("l", "d"), file("l/c"), hard("h", "d/a")],
  [dir("d"), { name: "d/.wh..wh..opq" }, { name: ".wh.x" }, dir("x"), file("x/y"), symlink("up", "../.."), file("up/z")],
  [file("f"), dir("f"), file("f/g"), { name: ".wh.f" }, { name: "f/.wh.g" }, symlink("root", "/"), { name: "root/.wh.d" }],
].map((entries) => tar(entries));

{
  let base = "";
  fuzz({
    name: "layer",
    seeds: layers,
    dictionary: [".wh.", ".wh..wh..opq", "../", "d/", "l/", "up/", "root/", "\0"],
    prepare(t) {
      base = mkdtempSync(join(tmpdir(), "rkt-fuzz-"));
      t.after(() => rmSync(base, { recursive: true, force: true }));
    },
    run(input) {
      for (const name of ["alone", "merged", "lower"]) mkdirSync(join(base, name));
      writeFileSync(join(base, "outside"), "untouched");
      const before = lstatSync(join(base, "outside"));
      const bytes = mended(input);
      const read = (extractor: Pick<LayerAlone, "entry">) => {
        const reader = new TarReader((entry) => extractor.entry(entry), LAYER_LIMITS);
        reader.write(bytes);
        reader.end();
      };
      const alone = new LayerAlone(join(base, "alone"), () => {});
      const merged = new LayersMerged(join(base, "merged"), () => {});
      try {
        read(alone);
        const notes = alone.finish();
        completeLayer(join(base, "alone"), notes, join(base, "lower"), () => {});
        merged.nextLayer();
        read(merged);
        merged.nextLayer();
        read(merged);
        merged.finish();
      } finally {
        alone.close();
        merged.close();
        const after = lstatSync(join(base, "outside"));
        const there = readdirSync(base).sort();
        for (const name of ["alone", "merged", "lower"]) rmSync(join(base, name), { recursive: true });
        assert.deepEqual(there, ["alone", "lower", "merged", "outside"]);
        assert.deepEqual([after.ino, after.size, after.ctimeMs, after.mode], [before.ino, before.size, before.ctimeMs, before.mode]);
      }
    },
  });
}
