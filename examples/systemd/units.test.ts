/** systemd's own opinion of the units. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const page = readFileSync(join(import.meta.dirname, "../../docs/use/services.md"), "utf8");

const units = readdirSync(import.meta.dirname).filter((name) => /\.(service|socket|timer)$/.test(name));

test("systemd-analyze finds nothing wrong with the units, and the one that the guide shows", (t) => {
  assert.ok(units.length >= 5);
  const dir = mkdtempSync(join(tmpdir(), "rkt-units-"));
  t.after(() => rmSync(dir, { recursive: true }));
  // It looks whether the programs are there: any program will do.
  for (const name of units) {
    const text = readFileSync(join(import.meta.dirname, name), "utf8");
    writeFileSync(
      join(dir, name),
      text.replaceAll("/usr/bin/rkt", "/bin/true").replaceAll("/usr/sbin/ip", "/bin/true"),
    );
  }
  const [, documented = ""] = /^```ini\n(.+?)^```/ms.exec(page) ?? [];
  assert.match(documented, /^ExecStart=/m);
  writeFileSync(join(dir, "site.service"), documented.replaceAll("/usr/bin/rkt", "/bin/true"));
  const done = spawnSync("systemd-analyze", ["verify", ...[...units, "site.service"].map((name) => join(dir, name))], {
    encoding: "utf8",
  });
  assert.equal(done.status, 0, done.stderr);
  assert.equal(done.stderr, "");
});

test("and would, if there were something", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "rkt-units-"));
  t.after(() => rmSync(dir, { recursive: true }));
  copyFileSync(join(import.meta.dirname, "rkt-gc.timer"), join(dir, "rkt-gc.timer"));
  writeFileSync(join(dir, "rkt-gc.service"), "[Service]\nType=oneshot\nExecStart=/bin/true\nKillMode=gently\n");
  const done = spawnSync("systemd-analyze", ["verify", join(dir, "rkt-gc.timer")], { encoding: "utf8" });
  assert.match(done.stderr, /Failed to parse kill mode specification, ignoring: gently/);
});
