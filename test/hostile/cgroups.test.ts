/**
 * Root of an app whose filter lets it make namespaces mounts the cgroup file
 * systems: there is nothing of others in what it sees, and what it freezes can
 * be ended.
 */

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { hierarchies, ownCgroup } from "../../shared/cgroup-hierarchies.ts";
import { makeAci, manifest } from "../fixtures/aci.ts";
import { compileAttack } from "../helpers/attack.ts";
import { eventually, makeRkt, type Rkt, requires, scratchFile } from "../helpers/rkt.ts";

function image(rkt: Rkt): string {
  const entries = [
    { name: "rootfs/bin/busybox", data: readFileSync("/usr/bin/busybox"), mode: 0o755 },
    { name: "rootfs/bin/sh", type: "2", link: "busybox" },
    { name: "rootfs/bin/attack", data: compileAttack(rkt.scratch), mode: 0o755 },
    { name: "rootfs/tmp", type: "5", mode: 0o1777 },
  ];
  const app = {
    exec: ["/bin/attack", "within"],
    user: "0",
    group: "0",
    isolators: [{ name: "os/linux/seccomp-remove-set", value: { set: ["reboot"] } }],
  };
  return scratchFile(rkt, "image.aci", makeAci(entries, manifest({ name: "example.com/within", app })));
}

/** A process of the host in a v2 cgroup below the caller's, as another service has one. */
function victim(t: TestContext): { name: string; process: ChildProcess } {
  const v2 = hierarchies(readFileSync("/proc/self/mountinfo", "utf8")).find(({ controllers }) => controllers.length === 0);
  assert.ok(v2 !== undefined, "the host has cgroup v2 mounted");
  const own = ownCgroup(readFileSync("/proc/self/cgroup", "utf8"), v2) ?? "/";
  const name = `rkt-test-victim-${process.pid}`;
  const dir = join(v2.mountPoint, own, name);
  mkdirSync(dir);
  const sleeper = spawn("sleep", ["1000"], { stdio: "ignore" });
  writeFileSync(join(dir, "cgroup.procs"), String(sleeper.pid));
  t.after(async () => {
    sleeper.kill("SIGKILL");
    await eventually("the cgroup is empty", () => {
      try {
        rmdirSync(dir);
        return true;
      } catch {
        return undefined;
      }
    });
  });
  return { name, process: sleeper };
}

test("the cgroup v2 that an app can mount is its container's, and not its caller's", (t) => {
  if (!requires(t, "root", "build", "gcc")) return;
  const rkt = makeRkt(t);
  const { name, process: sleeper } = victim(t);
  const script = `cd /tmp/v2; [ -e cgroup.procs ] && echo mounted; [ -d ${name} ] && echo SEEN; echo 1 2>/dev/null >${name}/cgroup.kill; exit 0`;
  const done = rkt.ok(["run", "--insecure-options=image", image(rkt), "--", script]);
  assert.equal(done.stdout, "mounted\n");
  assert.match(done.stderr, /as good as root on the host/);
  assert.equal(sleeper.exitCode ?? sleeper.signalCode, null, "the other process lives");
});

test("a container that has frozen itself ends by rkt stop --force", async (t) => {
  if (!requires(t, "root", "build", "gcc")) return;
  const rkt = makeRkt(t);
  const uuidFile = join(rkt.scratch, "uuid");
  const script =
    "if [ -e /tmp/freezer/freezer.state ]; then echo FROZEN >/tmp/freezer/freezer.state; else echo 1 >/tmp/v2/cgroup.freeze; fi; exec /bin/busybox sleep 1000";
  const child = rkt.start(["run", "--insecure-options=image", `--uuid-file-save=${uuidFile}`, image(rkt), "--", script]);
  const uuid = await eventually("it has a UUID", () => (existsSync(uuidFile) ? readFileSync(uuidFile, "utf8").trim() : undefined));
  const text = (path: string) => (existsSync(path) ? readFileSync(path, "utf8") : "");
  const frozen = (dir: string) =>
    text(join(dir, "freezer.state")).startsWith("FROZEN") || text(join(dir, "cgroup.events")).includes("frozen 1");
  const cgroups = join(rkt.dir, "containers/run", uuid, "cgroups");
  await eventually("it is frozen", () => (text(cgroups).split("\n").some(frozen) ? true : undefined));
  rkt.ok(["stop", "--force", uuid], { timeout: 60_000 });
  if (child.exitCode === null && child.signalCode === null) await once(child, "close");
  assert.match(rkt.ok(["list", "--no-legend"]).stdout, /exited/);
});
