/** --ipc: whose System V shared memory and POSIX queues a container has. */

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { makeAci, manifest } from "../fixtures/aci.ts";
import { dist, exampleAci, makeRkt, type Rkt, requires, rktBinary, scratchFile } from "../helpers/rkt.ts";

const ready = (t: TestContext) => requires(t, "root", "build", "gcc", "unshare", "ipcmk", "ipcs");
const busybox = exampleAci("busybox");
const fly = `--stage1-path=${join(dist, "stage1-fly.aci")}`;

/** An image of what attaches shared memory, and a shell. */
function makeImage(rkt: Rkt): { image: string; program: string } {
  const program = join(rkt.scratch, "shared-memory");
  execFileSync("gcc", ["-static", "-o", program, join(import.meta.dirname, "../fixtures/shared-memory.c")]);
  const entries = [
    { name: "rootfs/bin/shared-memory", mode: 0o755, data: readFileSync(program) },
    { name: "rootfs/bin/busybox", mode: 0o755, data: readFileSync("/bin/busybox") },
    { name: "rootfs/bin/sh", type: "2", link: "busybox" },
  ];
  return { image: scratchFile(rkt, "shm.aci", makeAci(entries, manifest({ name: "example.com/shm" }))), program };
}

/**
 * A caller with an IPC namespace of its own, and in it shared memory and a queue: what an app finds of them, and what the
 * caller has afterwards.
 */
function between(rkt: Rkt, options: readonly string[]): string[] {
  const { image, program } = makeImage(rkt);
  const script = `set -e
    mkdir "$scratch/queues" && mount -t mqueue mqueue "$scratch/queues" && touch "$scratch/queues/of-the-caller"
    id=$(ipcmk -M 4096 | tr -dc 0-9)
    "$program" $id "the caller's" >/dev/null
    "$@" --set-env=ID=$id "$image" --exec=/bin/sh -- -c "$inside" </dev/null || echo "status $?"
    "$program" $id
    echo "$(ipcs -m | grep -c ^0x) of the caller's"`;
  const inside = `PATH=/bin; busybox ls /dev/mqueue; exec shared-memory $ID "the app's" 2>&1`;
  // It fills the store.
  rkt.ok(["--insecure-options=image", "prepare", image]);
  const run = [rktBinary, `--dir=${rkt.dir}`, "--insecure-options=image", "run", ...options];
  const done = spawnSync("unshare", ["--ipc", "--mount", "--", "sh", "-c", script, "sh", ...run], {
    encoding: "utf8",
    env: { ...process.env, scratch: rkt.scratch, program, image, inside },
    timeout: 60_000,
  });
  assert.equal(done.status, 0, done.stderr);
  return done.stdout.trimEnd().split("\n");
}

for (const options of [["--ipc=parent"], ["--ipc=parent", fly], [fly], ["--ipc=auto", fly]])
  test(`shared memory and queues are the caller's: ${options.join(" ")}`, (t) => {
    if (!ready(t)) return;
    const found = between(makeRkt(t), options);
    // fly shows the host's /dev as it is, with queues or without.
    const queue = options.includes(fly) ? found.slice(0, -3) : ["of-the-caller"];
    assert.deepEqual(found, [...queue, "the caller's", "the app's", "1 of the caller's"]);
  });

for (const options of [[], ["--ipc=auto"], ["--ipc=private"], ["--private-users"], ["--private-users", "--ipc=private"]])
  test(`shared memory and queues are the container's own: ${options.join(" ") || "without an option"}`, (t) => {
    if (!ready(t)) return;
    const [first, ...rest] = between(makeRkt(t), options);
    assert.match(first ?? "", /^shmat: (Invalid argument|No such file or directory)$/);
    assert.deepEqual(rest, ["status 1", "the caller's", "1 of the caller's"]);
  });

test("--ipc: a prepared container keeps it", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const namespace = () => execFileSync("readlink", ["/proc/self/ns/ipc"], { encoding: "utf8" });
  const look = ["--exec=/bin/sh", "--", "-c", "readlink /proc/self/ns/ipc"];
  const prepare = (...options: string[]) => rkt.ok(["prepare", ...options, busybox, ...look]).stdout.trim();
  assert.equal(rkt.ok(["run-prepared", prepare("--ipc=parent")]).stdout, namespace());
  assert.notEqual(rkt.ok(["run-prepared", prepare()]).stdout, namespace());
});

test("--ipc: what can't be had is refused, and nothing is left", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  rkt.fails(["run", "--ipc=parent", "--private-users", busybox], 2, /--ipc=parent can't be had with --private-users/);
  rkt.fails(["run", "--ipc=host", busybox], 2, /--ipc/);
  rkt.fails(["run", "--ipc=private", fly, busybox], 254, /stage1 image coreos\.com\/rkt\/stage1-fly can't do --ipc=private\nhint: leave --ipc out/);
  for (const mode of ["private", "parent"])
    rkt.fails(["run", `--ipc=${mode}`, `--stage1-path=${exampleAci("stage1-shell")}`, busybox], 254, /example\.com\/stage1-shell can't do --ipc=/);
  const isolators = [{ name: "os/unix/sysctl", value: { "kernel.shmmax": "4096" } }];
  const app = { exec: ["/bin/sh"], user: "0", group: "0", isolators };
  const image = scratchFile(rkt, "sysctl.aci", makeAci([], manifest({ name: "example.com/sysctl", app })));
  rkt.fails(
    ["--insecure-options=image", "run", "--ipc=parent", image],
    254,
    /app sysctl: the kernel parameter kernel\.shmmax is not the container's own\nhint: without --ipc=parent/,
  );
  assert.deepEqual(rkt.containers(), []);
});
