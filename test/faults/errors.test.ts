/** System calls that fail at random moments: strace makes them, in rkt, in init, and in the nspawn that it becomes. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Entry, makeAci } from "../fixtures/aci.ts";
import { answerFile, serve } from "../helpers/http-server.ts";
import { exampleAci, makeRkt, requires, type Rkt, rktBinary, sh } from "../helpers/rkt.ts";
import { assertAftermath, assertImages, assertManners, ownCgroups } from "./aftermath.ts";
import { random, rounds, seed } from "./random.ts";
import { chooseFaults, countCalls, type Faults, withFault } from "./strace.ts";

const times = rounds(1);
const cgroups = process.getuid?.() === 0 ? ownCgroups() : [];
const busybox = exampleAci("busybox");
const image = existsSync(busybox) ? readFileSync(busybox) : Buffer.alloc(0);

interface Scenario {
  name: string;
  before: (rkt: Rkt) => unknown;
  /** With a server that has the image busybox, by its URL. */
  args: string[] | ((rkt: Rkt, url: string) => string[]);
  faults: Faults;
}

const scenarios: Scenario[] = [
  {
    name: "prepare, with an image that is not in the store",
    before: (rkt) => rkt.run(["image", "rm", "example.com/busybox"]),
    args: ["prepare", busybox, ...sh("exit 0")],
    faults: {
      write: ["ENOSPC", "EIO", "EINTR"],
      pwrite64: ["ENOSPC+", "EIO"],
      fsync: ["EIO", "EINTR"],
      syncfs: ["EIO"],
      rename: ["ENOSPC+", "EIO", "EINTR"],
      mkdir: ["ENOSPC+"],
      mkdirat: ["ENOSPC"],
      openat: ["ENOSPC", "EMFILE+", "EINTR"],
    },
  },
  {
    name: "prepare, with an image of links",
    before: (rkt) => rkt.run(["image", "rm", "example.com/test"]),
    args: (rkt) => ["prepare", "--insecure-options=image", linked(rkt)],
    faults: { linkat: ["ENOSPC", "EIO", "EMLINK+"], symlinkat: ["ENOSPC", "EIO+"] },
  },
  {
    name: "fetch",
    before: (rkt) => rkt.run(["image", "rm", "example.com/busybox"]),
    args: (_, url) => ["fetch", "--insecure-options=image,http", "--pull-policy=update", url],
    faults: {
      connect: ["ECONNREFUSED+", "ENETUNREACH+", "EINTR"],
      write: ["ENOSPC", "EIO", "ECONNRESET"],
      pwrite64: ["ENOSPC", "EIO+", "EINTR"],
      fsync: ["EIO"],
      rename: ["ENOSPC", "EIO+"],
      mkdir: ["ENOSPC"],
      openat: ["ENOSPC", "EMFILE+"],
      read: ["ECONNRESET", "EIO"],
    },
  },
  {
    name: "image render",
    before: (rkt) => rkt.ok(["fetch", busybox]),
    args: (rkt) => ["image", "render", "--overwrite", "example.com/busybox", join(rkt.scratch, "rendered")],
    faults: {
      write: ["ENOSPC", "EIO+"],
      pwrite64: ["ENOSPC", "EIO"],
      mkdir: ["ENOSPC"],
      symlinkat: ["ENOSPC", "EIO+"],
      linkat: ["EMLINK+", "EIO"],
      rename: ["ENOSPC"],
      openat: ["ENOSPC", "EMFILE+"],
    },
  },
  {
    name: "run",
    before: () => {},
    args: ["run", busybox, ...sh("exit 0")],
    faults: {
      write: ["ENOSPC", "EINTR"],
      rename: ["ENOSPC", "EIO"],
      mkdir: ["ENOSPC", "EIO"],
      mount: ["ENOSPC", "EINTR", "EIO+"],
      unshare: ["ENOSPC"],
      flock: ["EINTR", "ENOLCK"],
      openat: ["EIO", "ENFILE+"],
    },
  },
  {
    name: "gc",
    before: (rkt) => {
      rkt.ok(["run", busybox, ...sh("mkdir -p a/b c; touch a/x c/y")]);
      rkt.ok(["prepare", busybox]);
    },
    args: ["gc", "--grace-period=0", "--expire-prepared=0"],
    faults: {
      rename: ["ENOSPC", "EIO+"],
      unlinkat: ["EIO", "EIO+", "EINTR"],
      rmdir: ["EIO", "EINTR"],
      openat: ["EIO", "EINTR"],
    },
  },
];

/** A file with an image of hard and symbolic links. */
function linked(rkt: Rkt): string {
  const file = join(rkt.scratch, "linked.aci");
  const links = Array.from({ length: 20 }, (_, i): Entry[] => [
    { name: `rootfs/hard${i}`, type: "1", link: "rootfs/file" },
    { name: `rootfs/soft${i}`, type: "2", link: "file" },
  ]);
  const program: Entry = { name: "rootfs/bin/true", mode: 0o755 };
  if (!existsSync(file))
    writeFileSync(file, makeAci([program, { name: "rootfs/file", data: "one of many names" }, ...links.flat()]));
  return file;
}

for (const [i, scenario] of scenarios.entries())
  test(`system calls that fail: ${scenario.name}`, { timeout: 180_000 * times }, async (t) => {
    if (!requires(t, "root", "build", "strace")) return;
    t.diagnostic(`RKT_FAULTS_SEED=${seed}`);
    const rkt = makeRkt(t);
    const next = random(i);
    rkt.ok(["prepare", busybox]);
    const images = JSON.parse(rkt.ok(["image", "list", "--format=json"]).stdout);
    const stage1 = images.flatMap((image: { id: string; name: string }) =>
      image.name.includes("stage1") ? image.id : [],
    );
    const server = await serve(t, (request, response) => answerFile(request, response, { body: image, etag: '"1"' }));
    const { args } = scenario;
    const words = typeof args === "function" ? args(rkt, `${server.base}/busybox.aci`) : args;
    scenario.before(rkt);
    const counts = await countCalls(rkt, scenario.faults, words);
    const scratch = readdirSync(rkt.scratch);
    for (let round = 0; round < times; round++)
      for (const fault of chooseFaults(scenario.faults, counts, next)) await fail(rkt, scenario, words, fault);
    // Where nothing can be opened any more, nothing can be removed either: what the new one took the place of is named.
    const beside = readdirSync(rkt.scratch).filter((name) => !/\.(?:tmp|old)$/.test(name));
    assert.deepEqual(beside, scratch);
    assertImages(rkt, stage1, `seed ${seed}`);
  });

async function fail(rkt: Rkt, scenario: Scenario, words: readonly string[], fault: string): Promise<void> {
  scenario.before(rkt);
  const what = `seed ${seed}: inject=${fault}`;
  const done = await withFault(rkt, fault, words);
  assertManners(done.status, done.stderr, what);
  assertAftermath(rkt, cgroups, what);
  const run = rkt.run(["run", busybox, ...sh("echo alive; exit 5")]);
  assert.equal(run.status, 5, `${what}: the next run: ${run.stderr}`);
}

const INOTIFY_LIMITS = ["max_user_instances", "max_user_watches"];

/** `rkt` whose calls of one kind fail, on a machine with this limit of inotify: a file in the place of the kernel's. */
function withInotify(rkt: Rkt, name: string, limit: number, inject: string, readOnly: boolean) {
  const file = join(rkt.scratch, name);
  writeFileSync(file, `${limit}\n`);
  const path = `/proc/sys/fs/inotify/${name}`;
  const other = join(rkt.scratch, "other");
  writeFileSync(other, "8192\n");
  const others = INOTIFY_LIMITS.filter((one) => one !== name).map((one) => `mount --bind ${other} /proc/sys/fs/inotify/${one}`);
  const mount = `${others.join()} && mount --bind ${file} ${path}${readOnly ? ` && mount -o remount,bind,ro ${path}` : ""}`;
  const call = inject.slice(0, inject.indexOf(":"));
  const strace = ["strace", "-o", "/dev/null", "-e", `trace=${call}`, "-e", `inject=${inject}`];
  const run = [rktBinary, `--dir=${rkt.dir}`, "--insecure-options=image", "run", busybox, ...sh("echo alive")];
  const words = ["--mount", "sh", "-ec", `${mount}; exec "$@"`, "sh", ...strace, ...run];
  const { status, stdout, stderr } = spawnSync("unshare", words, { encoding: "utf8", timeout: 60_000 });
  return { status, stdout, stderr, limit: Number(readFileSync(file, "utf8")) };
}

const UNLIMITED = 2 ** 31 - 1;
for (const [name, inject, what] of [
  ["max_user_instances", "inotify_init1:error=EMFILE", "instances"],
  ["max_user_watches", "inotify_add_watch:error=ENOSPC", "watches"],
] as const) {
  test(`inotify ${what} that somebody has used up: the limit is raised, and that is said`, (t) => {
    if (!requires(t, "root", "build", "strace", "unshare")) return;
    const done = withInotify(makeRkt(t), name, 8192, `${inject}:when=1`, false);
    assert.deepEqual([done.status, done.stdout, done.limit], [0, "alive\n", UNLIMITED], done.stderr);
    assert.match(done.stderr, new RegExp(`^rkt: stage1: warning: 8192 inotify ${what}, all .* the limit is raised$`, "m"));
  });

  test(`inotify ${what} used up, and a limit that cannot be raised: said, and nothing is left`, (t) => {
    if (!requires(t, "root", "build", "strace", "unshare")) return;
    const rkt = makeRkt(t);
    const done = withInotify(rkt, name, 8192, inject, true);
    assert.equal(done.status, 254);
    const message = `rkt: stage1: this machine's inotify ${what} are used up.*\nhint: .*sysctl fs\\.inotify\\.${name}=`;
    assert.match(done.stderr, new RegExp(message));
    assertAftermath(rkt, cgroups, "no inotify");
  });
}

test("inotify instances for containers that start at the same time: the default limit is raised in time", (t) => {
  if (!requires(t, "root", "build", "strace", "unshare")) return;
  const done = withInotify(makeRkt(t), "max_user_instances", 128, "inotify_init1:error=EMFILE:when=1", false);
  assert.deepEqual([done.status, done.stdout, done.limit, done.stderr], [0, "alive\n", 8192, ""]);
});
