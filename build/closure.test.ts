import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { closure } from "./closure.ts";
import { packageLoader, SOURCES, usrMergedPath } from "./debian.ts";
import { extractTree } from "./extract.ts";
import { CACHE } from "./paths.ts";
import { upstreamVersion } from "./recipe.ts";
import { overlay, skeleton } from "./skeleton.ts";

/** Libraries that ldd(1) finds for an installed program, by their real names. */
function ldd(program: string): string[] {
  const text = execFileSync("ldd", [program]).toString();
  return [...text.matchAll(/(?:=> )?(\/\S+) \(0x/g)]
    .map((match) => usrMergedPath(realpathSync(match[1] ?? "").slice(1)))
    .sort();
}

for (const source of SOURCES)
  test(`${source}: a program brings the libraries that ldd names, and runs in a root of its own`, async (t) => {
    const root = mkdtempSync(join(tmpdir(), "rkt-closure-"));
    t.after(() => rmSync(root, { recursive: true, force: true }));
    const wanted = new Map([["systemd", ["usr/bin/systemd-notify"]]]);
    const { tree, packages } = await closure({ load: packageLoader(source, CACHE), wanted });
    const libraries = [...tree].filter(([path, entry]) => path.startsWith("usr/lib/") && entry.type === "file");
    assert.deepEqual(libraries.map(([path]) => path).sort(), ldd("/usr/bin/systemd-notify"));
    assert.ok(packages.some((p) => p.name === "libc6"));

    const whole = skeleton();
    overlay(whole, tree);
    await extractTree(whole, root);
    const output = execFileSync("chroot", [root, "/usr/bin/systemd-notify", "--version"]).toString();
    assert.match(output, /^systemd \d+/);
  });

test("links are relative: they lead right from outside of the root", async () => {
  const [libc] = await packageLoader("debian", CACHE)(["libc6"]);
  const link = libc?.tree.get("usr/lib64/ld-linux-x86-64.so.2");
  assert.equal(link?.type === "symlink" && link.target, "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
});

test("a package that nobody has", async () => {
  for (const source of SOURCES)
    await assert.rejects(packageLoader(source, CACHE)(["no-such-package-at-all"]), {
      message: /no-such-package-at-all/,
    });
});

test("a file that the package has not", async () => {
  const load = packageLoader("debian", CACHE);
  await assert.rejects(closure({ load, wanted: new Map([["busybox-static", ["usr/bin/nope"]]]) }), {
    code: "bad-package",
    message: /^package busybox-static .* has no file \/usr\/bin\/nope$/,
  });
});

const versions = [
  ["5:7.0.15-1~deb12u10", "7.0.15"],
  ["3.4.23-4+b4", "3.4.23"],
  ["1.0", "1.0"],
  ["2:1.2-3-4", "1.2-3"],
] as const;
for (const [version, upstream] of versions)
  test(`version ${version} is upstream's ${upstream}`, () => assert.equal(upstreamVersion(version), upstream));
