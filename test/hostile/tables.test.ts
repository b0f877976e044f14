/**
 * What the kernel has one table of for all containers: no container may take so much of it that others go without. The
 * table in docs/operate/security.md says the bound of each.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { exampleAci, finished, makeRkt, type Rkt, requires, scratchFile } from "../helpers/rkt.ts";

function hoardImage(rkt: Rkt): string {
  const program = join(rkt.scratch, "hoard");
  execFileSync("gcc", ["-static", "-O1", "-o", program, join(import.meta.dirname, "../fixtures/hoard.c")]);
  const app = { exec: ["/hoard"], user: "0", group: "0" };
  const entry: Entry = { name: "rootfs/hoard", data: readFileSync(program), mode: 0o755 };
  return scratchFile(rkt, "hoard.aci", makeAci([entry], manifest({ name: "example.com/hoard", app })));
}

interface Table {
  kind: string;
  options: string[];
  global?: string;
  /** What it gets, and why no more. */
  said: RegExp;
}

const USERS = ["--private-users"];
const tables: Table[] = [
  { kind: "pty", options: [], said: /^pty: 1024, then ENOSPC$/ },
  { kind: "pty", options: USERS, said: /^pty: 1024, then ENOSPC$/ },
  { kind: "mqueue", options: [], said: /^mqueue: (?:\d{1,3}), then (?:ENOSPC|EMFILE|ENOENT|ENOSYS|EACCES)$/ },
  // systemd has some of the 1024.
  { kind: "inotify", options: USERS, said: /^inotify: 10[012]\d, then EMFILE$/ },
  { kind: "watches", options: USERS, said: /^watches: 65[45]\d\d, then ENOSPC$/ },
  {
    kind: "userns",
    options: USERS,
    global: "--insecure-options=image,seccomp",
    said: /^userns: \d{1,3}, then (?:ENOSPC|EUSERS|EPERM)$/,
  },
];

const ready = (t: TestContext) => requires(t, "root", "build", "gcc");

for (const { kind, options, global = "--insecure-options=image", said } of tables)
  test(`${[kind, ...options].join(" ")}: a container gets no more than its share, and another starts beside it`, async (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const hoarder = ["run", ...options, hoardImage(rkt), "--", kind, "1000"];
    const child = rkt.start([global, ...hoarder], { stdio: ["ignore", "pipe", "pipe"] });
    const done = finished(child);
    const line = await new Promise<string>((resolve) => {
      child.stdout?.once("data", (chunk: Buffer) => resolve(chunk.toString().trim()));
      void done.then(({ stderr }) => resolve(stderr));
    });
    assert.match(line, said);
    for (const beside of [[], USERS]) {
      const words = ["run", ...beside, exampleAci("busybox"), "--exec=/bin/echo", "--", "beside"];
      assert.equal(rkt.ok(words).stdout, "beside\n");
    }
    child.kill("SIGTERM");
    await done;
  });
