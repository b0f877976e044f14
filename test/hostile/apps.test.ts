/**
 * Every hostile app in a container of its own, beside one that goes on all the
 * time. After each, the host and that neighbour are as they were, nothing of
 * the container is left, and it took no longer than it may.
 */

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { eventually, finished, makeRkt, type Rkt, requires, rktBinary } from "../helpers/rkt.ts";
import { type HostileApp, hostileApps } from "./apps.ts";

/** Seconds for a container that ends by itself. */
const LIMIT = 30;

const LINKS =
  "basename cat chmod cut dd grep head id kill ln ls mkdir mkfifo mv nc pidof rm setsid sh sleep touch tr true truncate usleep";

/** The image's files: busybox under its names, the program that attacks, and the case's own in their place. */
function rootfs(attack: Buffer, own: readonly Entry[]): Entry[] {
  const files: Entry[] = [
    { name: "rootfs/bin/busybox", data: readFileSync("/usr/bin/busybox"), mode: 0o755 },
    { name: "rootfs/bin/attack", data: attack, mode: 0o755 },
    { name: "rootfs/etc/passwd", data: "root:x:0:0::/:/bin/sh\n" },
    ...LINKS.split(" ").map((name): Entry => ({ name: `rootfs/bin/${name}`, type: "2", link: "busybox" })),
  ];
  return [...files.filter(({ name }) => !own.some((entry) => entry.name === name)), ...own];
}

interface Stage {
  rkt: Rkt;
  victim: string;
  attack: Buffer;
  /** What must stay as it is. */
  untouched: string;
  neighbour: { uuid: string; alive(): boolean };
}

function hostState(victim: string): string {
  const kept = ["kernel/core_pattern", "vm/panic_on_oom", "kernel/randomize_va_space"];
  const find = `find ${victim} -printf '%p %y %#m %U:%G %s %C@ %l\\n' | sort; stat -c '%n %a %u:%g' /dev/null /dev/zero; ls -d /rkt /x /a /injected 2>&1`;
  return [
    hostname(),
    ...kept.map((name) => readFileSync(`/proc/sys/${name}`, "utf8")),
    spawnSync("sh", ["-c", find], { encoding: "utf8" }).stdout,
  ].join("\n");
}

async function stage(t: TestContext): Promise<Stage> {
  const base = mkdtempSync(join(tmpdir(), "rkt-hostile-"));
  t.after(() => rmSync(base, { recursive: true, force: true }));
  const victim = join(base, "victim");
  mkdirSync(join(victim, "dir"), { recursive: true });
  writeFileSync(join(victim, "secret"), "untouched");
  const program = join(base, "attack");
  execFileSync("gcc", [
    "-static",
    "-O1",
    "-Wall",
    "-Werror",
    "-o",
    program,
    join(import.meta.dirname, "../fixtures/attack.c"),
  ]);
  const attack = readFileSync(program);
  const rkt = makeRkt(t);
  const app = { exec: ["/bin/sh", "-c", "echo fine >/proof; echo up; exec sleep 1000"], user: "0", group: "0" };
  const file = join(base, "neighbour.aci");
  writeFileSync(file, makeAci(rootfs(attack, []), manifest({ name: "example.com/neighbour", app })));
  const uuidFile = join(base, "uuid");
  const child = rkt.start(["--insecure-options=image", "run", `--uuid-file-save=${uuidFile}`, file]);
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  const neighbour = { uuid: readFileSync(uuidFile, "utf8"), alive: () => child.exitCode === null };
  return { rkt, victim, attack, untouched: hostState(victim), neighbour };
}

/** What an operator would see on a terminal of what an app calls itself and says. */
function onTerminal(rkt: Rkt, ...args: string[]): string {
  const line = [rktBinary, `--dir=${rkt.dir}`, ...args].map((word) => `'${word}'`).join(" ");
  const done = spawnSync("script", ["--quiet", "--return", "--command", line, "/dev/null"], {
    encoding: "utf8",
    timeout: 20_000,
  });
  assert.equal(done.status, 0, done.stdout);
  return done.stdout;
}

function act({ rkt }: Stage, uuid: string, { meanwhile: what, beside }: HostileApp): void {
  if (what === "enter")
    for (const command of [
      ["/bin/busybox", "id"],
      ["/bin/true"],
      ["/bin/sh", "-c", "exit 0"],
      ["/bin/busybox", "true"],
    ]) {
      // It ends with its app, by SIGKILL, and so may a hunter's have.
      const start = Date.now();
      const app = beside === undefined ? [] : ["--app=app"];
      rkt.run(["enter", ...app, uuid, ...command], { timeout: 20_000 });
      assert.ok(Date.now() - start < 15_000, "rkt enter ends");
    }
  if (what === "look") {
    for (const args of [
      ["logs", uuid],
      ["list", "--full"],
      ["status", uuid],
      ["top", "--processes", "--interval=100ms"],
    ]) {
      const shown = onTerminal(rkt, ...args);
      // Its own line ends and colours aside.
      assert.doesNotMatch(shown.replaceAll("\r\n", "\n"), /\x1b(?!\[[0-9;]*m)|\x07|\x1b\[31m|\r/, args.join(" "));
    }
  }
}

async function perform(set: Stage, hostile: HostileApp): Promise<void> {
  const { rkt, victim, attack } = set;
  const home = mkdtempSync(join(rkt.scratch, "case-"));
  const here = <T>(value: T): T => JSON.parse(JSON.stringify(value).replaceAll("VICTIM", victim));
  const {
    script,
    entries = [],
    eventHandlers = [],
    mountPoints = [],
    app: appOptions = [],
    beside,
  } = here({ ...hostile, entries: [] });
  const own = (hostile.entries ?? entries).map((entry) => ({
    ...entry,
    ...(entry.link === undefined ? {} : { link: entry.link.replaceAll("VICTIM", victim) }),
  }));
  const app = { exec: ["/bin/sh", "-c", script, "sh"], user: "0", group: "0", eventHandlers, mountPoints };
  const file = join(home, "app.aci");
  writeFileSync(file, makeAci(rootfs(attack, own), manifest({ name: "example.com/app", app })));
  const uuidFile = join(home, "uuid");
  const child = rkt.start([
    ...(hostile.global ?? ["--insecure-options=image"]),
    "run",
    `--uuid-file-save=${uuidFile}`,
    ...(hostile.options ?? []),
    file,
    ...appOptions,
    ...(beside === undefined ? [] : ["---", file, "--name=other", ...beside]),
  ]);
  const done = finished(child);
  let said = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    said = (said + chunk.toString("latin1")).slice(-1000);
  });
  const clock = (seconds: number, what: string) => {
    const timer = setTimeout(() => {
      rkt.run(["stop", "--force", `--uuid-file=${uuidFile}`]);
      child.kill("SIGKILL");
    }, seconds * 1000);
    return done.then((result) => {
      clearTimeout(timer);
      assert.notEqual(result.signal, "SIGKILL", `${what} within ${seconds} s`);
      return result;
    });
  };
  if (hostile.meanwhile !== undefined) {
    await eventually("it is up", () => (said.includes("up\n") || child.exitCode !== null ? true : undefined));
    const uuid = readFileSync(uuidFile, "utf8");
    act(set, uuid, hostile);
    if (child.exitCode === null) child.kill("SIGTERM");
  }
  const { status, stdout, stderr } = await clock(hostile.within ?? LIMIT, "it ends");

  const expected = [hostile.status ?? 0].flat();
  assert.ok(expected.includes(status ?? -1), `status ${status}: ${stderr.slice(0, 2000)}${stdout.slice(0, 2000)}`);
  const told = (actual: string, wanted: string | RegExp | undefined) => {
    if (typeof wanted === "string") assert.equal(actual, here(wanted));
    else if (wanted !== undefined)
      assert.ok(wanted.test(actual), `${wanted}: ${JSON.stringify(actual.slice(0, 2000))}`);
  };
  told(stdout, hostile.out);
  told(stderr, hostile.err);
  assert.doesNotMatch(stdout + stderr, /REACHED|internal error/);

  assert.equal(hostState(victim), set.untouched, "the host is as it was");
  assert.ok(set.neighbour.alive(), "the neighbour goes on");
  assert.ok(existsSync(uuidFile), "there is a container");
  const uuid = readFileSync(uuidFile, "utf8");
  rkt.ok(["gc", "--grace-period=0"]);
  assert.deepEqual(
    rkt.containers().filter((path) => path.endsWith(uuid)),
    [],
    "it is collected",
  );
  assert.deepEqual(globSync(`/sys/fs/cgroup/{*/,}{*/,}{*/,}rkt-${uuid}`), [], "cgroups");
}

test("hostile apps", { timeout: 15 * 60_000, concurrency: 3 }, async (t) => {
  if (!requires(t, "root", "build", "gcc", "script")) return;
  const set = await stage(t);
  await Promise.all(hostileApps.map((hostile) => t.test(`hostile app: ${hostile.name}`, () => perform(set, hostile))));
  assert.equal(set.rkt.ok(["enter", set.neighbour.uuid, "/bin/cat", "/proof"]).stdout, "fine\n");
  assert.equal(basename(set.rkt.containers()[0] ?? ""), set.neighbour.uuid);
});
