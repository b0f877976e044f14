/** What becomes of hostile images, judged by find(1) and sha256sum(1). A file of tests that imports it gets a victim. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, type TestContext } from "node:test";
import type { HostileImage } from "./images.ts";

let base: string;
let victim: string;
let untouched: string;

before(() => {
  base = mkdtempSync(join(tmpdir(), "rkt-hostile-"));
  victim = join(base, "victim");
  mkdirSync(join(victim, "dir"), { recursive: true });
  writeFileSync(join(victim, "secret"), "untouched");
  untouched = snapshot();
});
after(() => rmSync(base, { recursive: true, force: true }));

/** All that an image could reach from its target by going up: names, owners, modes, times, links, contents. */
function snapshot(): string {
  const script = `find ${victim} -printf '%p %y %#m %U:%G %s %C@ %l\\n' | sort; find ${victim} -type f -exec sha256sum {} +;
    find ${base} -mindepth 1 -maxdepth 1 -not -name 'case-*' | sort; ls -d /x /tmp/x /etc/x 2>/dev/null`;
  return spawnSync("sh", ["-c", script], { encoding: "utf8" }).stdout;
}

export const assertUntouched = (): void => assert.equal(snapshot(), untouched, "nothing outside has changed");

/** A file that `find` shows in a tree: path, type, mode, target of a link that leads nowhere else. */
function shown(root: string): string[] {
  const { stdout } = spawnSync("find", [root, "-mindepth", "1", "-printf", "%P %y %#m \\0"], {
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });
  return stdout.split("\0").filter(Boolean).sort();
}

/** What both ways have in common: an image in a directory of its own, and nothing changed outside of that. */
export function inDirectory(t: TestContext, image: HostileImage): { home: string; file: string; data: string } {
  const home = mkdtempSync(join(base, "case-"));
  t.after(() => rmSync(home, { recursive: true }));
  const file = join(home, "image.aci");
  writeFileSync(file, image.make(victim));
  return { home, file, data: join(home, "data") };
}

export function assertRefused(stderr: string, message: RegExp, data: string): void {
  assert.match(stderr, message);
  assert.match(stderr, /^rkt: prepare: [^\n]+\n(?:hint: [^\n]+\n)?$/, "one line, and a hint");
  assert.doesNotMatch(stderr, /[\0-\x09\x0b-\x1f\x7f-\x9f]/, "nothing for the terminal to obey");
  const left = (path: string) => spawnSync("find", [path, "-type", "f"], { encoding: "utf8" }).stdout;
  assert.equal(left(join(data, "containers")), "");
  assert.equal(left(join(data, "cas", "tmp")), "");
}

export function assertKept(image: HostileImage, data: string): void {
  const trees = readdirSync(join(data, "cas", "tree")).map((id) => shown(join(data, "cas", "tree", id, "rootfs")));
  const expected = (image.kept ?? []).map((line) => line.replace(/ [^ ]*$/, " "));
  // If there is another tree, it is the stage1's, which is empty.
  assert.deepEqual(trees.find((lines) => lines.length > 0) ?? [], [...expected].sort());
}
