/**
 * Every hostile image through the built `rkt`, to the end: imported, rendered,
 * made into a container. Judged by find(1), sha256sum(1) and time(1).
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ENTRYPOINTS } from "../../shared/contract/annotations.ts";
import { makeAci, manifest } from "../fixtures/aci.ts";
import { requires, rktBinary } from "../helpers/rkt.ts";
import { hostileImages } from "./images.ts";

/** Milliseconds for one image, and megabytes of memory. */
const TIME_LIMIT = 30_000;
const MEMORY_LIMIT = 300;

let base: string;
let victim: string;
let stage1: string;
let untouched: string;

before(() => {
  base = mkdtempSync(join(tmpdir(), "rkt-hostile-"));
  victim = join(base, "victim");
  mkdirSync(join(victim, "dir"), { recursive: true });
  writeFileSync(join(victim, "secret"), "untouched");
  stage1 = join(base, "stage1.aci");
  const annotations = [{ name: ENTRYPOINTS.init, value: "/init" }];
  writeFileSync(stage1, makeAci([], manifest({ name: "example.com/stage1", app: undefined, annotations })));
  untouched = snapshot();
});
after(() => rmSync(base, { recursive: true, force: true }));

/** All that an image could reach from its target by going up: names, owners, modes, times, links, contents. */
function snapshot(): string {
  const script = `find ${victim} -printf '%p %y %#m %U:%G %s %C@ %l\\n' | sort; find ${victim} -type f -exec sha256sum {} +;
    find ${base} -mindepth 1 -maxdepth 1 -not -name 'case-*' | sort; ls -d /x /tmp/x /etc/x 2>/dev/null`;
  return spawnSync("sh", ["-c", script], { encoding: "utf8" }).stdout;
}

/** A file that `find` shows in a tree: path, type, mode, target of a link that leads nowhere else. */
function shown(root: string): string[] {
  const { stdout } = spawnSync("find", [root, "-mindepth", "1", "-printf", "%P %y %#m \\0"], {
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });
  return stdout.split("\0").filter(Boolean).sort();
}

for (const image of hostileImages)
  test(`hostile image: ${image.name}`, (t) => {
    if (!requires(t, "root", "build", "time")) return;
    const home = mkdtempSync(join(base, "case-"));
    t.after(() => rmSync(home, { recursive: true }));
    const file = join(home, "image.aci");
    writeFileSync(file, image.make(victim));
    const data = join(home, "data");
    const figures = join(home, "figures");
    const argv = [
      "--format=%M",
      `--output=${figures}`,
      rktBinary,
      `--dir=${data}`,
      "prepare",
      `--stage1-path=${stage1}`,
      file,
    ];
    const { status, signal, stderr } = spawnSync("time", argv, { encoding: "utf8", timeout: TIME_LIMIT, cwd: home });
    const megabytes = Number(spawnSync("tail", ["-n1", figures], { encoding: "utf8" }).stdout) / 1024;

    assert.equal(signal, null, "it ends");
    assert.equal(snapshot(), untouched, "nothing outside has changed");
    assert.ok(megabytes > 0 && megabytes < MEMORY_LIMIT, `${megabytes} MB of memory`);
    assert.doesNotMatch(stderr, /[\0-\x09\x0b-\x1f\x7f-\x9f]/, "nothing for the terminal to obey");
    if (image.refused !== undefined) {
      assert.equal(status, 254, stderr);
      assert.match(stderr, image.refused);
      assert.match(stderr, /^rkt: prepare: [^\n]+\n(?:hint: [^\n]+\n)?$/, "one line, and a hint");
      const left = (path: string) => spawnSync("find", [path, "-type", "f"], { encoding: "utf8" }).stdout;
      assert.equal(left(join(data, "containers")), "");
      assert.equal(left(join(data, "cas", "tmp")), "");
    } else {
      assert.equal(status, 0, stderr);
      const trees = readdirSync(join(data, "cas", "tree")).map((id) => shown(join(data, "cas", "tree", id, "rootfs")));
      const expected = (image.kept ?? []).map((line) => line.replace(/ [^ ]*$/, " "));
      // The other tree is the stage1's, which is empty.
      assert.deepEqual(trees.find((lines) => lines.length > 0) ?? [], [...expected].sort());
    }
  });
