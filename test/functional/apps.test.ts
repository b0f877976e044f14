/** What an app is given besides its own program: event handlers, sockets, mounts, groups, environment. */

import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { finished, makeRkt, type Rkt, requires, scratchFile } from "../helpers/rkt.ts";

const ROOT: readonly Entry[] = [
  { name: "rootfs/bin/busybox", data: readFileSync("/usr/bin/busybox"), mode: 0o755 },
  { name: "rootfs/bin/sh", type: "2", link: "busybox" },
  { name: "rootfs/etc/passwd", data: "root:x:0:0::/root:/bin/sh\nweb:x:7:8:Web:/srv:/bin/sh\n" },
  { name: "rootfs/etc/group", data: "root:x:0:\nwww:x:8:\n" },
  { name: "rootfs/srv", type: "5", uid: 7, gid: 8 },
];

let made = 0;

/** An image whose programs are scripts of busybox's shell. */
function image(rkt: Rkt, app: object, entries: readonly Entry[] = []): string {
  const text = manifest({ app: { exec: sh("true"), user: "root", group: "root", ...app } });
  return scratchFile(rkt, `image-${made++}.aci`, makeAci([...ROOT, ...entries], text));
}

const sh = (script: string): string[] => ["/bin/sh", "-c", `b() { /bin/busybox "$@"; }; ${script}`];
const handlers = (events: Record<string, string>) =>
  Object.entries(events).map(([name, script]) => ({ name, exec: sh(script) }));

// --- event handlers -------------------------------------------------------------------------

test("event handlers are processes of the app: its user, groups, directory, environment, limits", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const say = (what: string) =>
    sh(`echo ${what} $(b id -u) $(b id -G) $(pwd) $A $AC_APP_NAME $(b grep -c app-x /proc/self/cgroup)`);
  const app = {
    exec: say("main"),
    user: "web",
    group: "www",
    supplementaryGIDs: [9],
    workingDirectory: "/srv",
    environment: [{ name: "A", value: "of the app" }],
    eventHandlers: ["pre-start", "post-stop"].map((name) => ({ name, exec: say(name) })),
    isolators: [{ name: "resource/memory", value: { limit: "64Mi" } }],
  };
  const lines = rkt
    .ok(["run", image(rkt, app), "--name=x"])
    .stdout.trim()
    .split("\n");
  assert.deepEqual(
    lines.map((line) => line.split(" ")[0]),
    ["pre-start", "main", "post-stop"],
  );
  const [seen, ...others] = new Set(lines.map((line) => line.split(" ").slice(1).join(" ")));
  assert.match(seen ?? "", /^7 8 9 \/srv of the app x [2-9]$/);
  assert.deepEqual(others, []);
});

interface Ending {
  name: string;
  events: Record<string, string>;
  main?: string;
  annotation?: string;
  status: number;
  stdout: string;
  stderr: string;
}

const endings: Ending[] = [
  {
    name: "a pre-start handler that fails: the app never starts, and has its status",
    events: { "pre-start": "echo before; exit 7", "post-stop": "echo after" },
    status: 7,
    stdout: "before\n",
    stderr: "rkt: app x: the pre-start handler ended with status 7\n",
  },
  {
    name: "a pre-start handler that is killed",
    events: { "pre-start": "kill -SEGV $$" },
    status: 139,
    stdout: "",
    stderr: "rkt: app x: the pre-start handler ended with status 139\n",
  },
  {
    name: "a pre-start handler that is killed, though it had the time",
    events: { "pre-start": "kill -KILL $$" },
    status: 137,
    stdout: "",
    stderr: "rkt: app x: the pre-start handler ended with status 137\n",
  },
  {
    name: "a pre-start handler that does not end",
    events: { "pre-start": "trap '' TERM INT; echo begun; while :; do b sleep 0.1; done" },
    annotation: "1",
    status: 137,
    stdout: "begun\n",
    stderr: "rkt: app x: the pre-start handler did not end within 1 s\n",
  },
  {
    name: "a post-stop handler that fails changes nothing",
    events: { "post-stop": "echo after; exit 7" },
    main: "echo main",
    status: 0,
    stdout: "main\nafter\n",
    stderr: "rkt: app x: the post-stop handler ended with status 7\n",
  },
  {
    name: "a post-stop handler runs after a failure, and changes nothing",
    events: { "post-stop": "echo after" },
    main: "echo main; exit 9",
    status: 9,
    stdout: "main\nafter\n",
    stderr: "",
  },
  {
    name: "a post-stop handler runs after the app was killed",
    events: { "post-stop": "echo after" },
    main: "kill -TERM $$",
    status: 143,
    stdout: "after\n",
    stderr: "",
  },
  {
    name: "a post-stop handler that does not end",
    events: { "post-stop": "echo after; while :; do b sleep 0.1; done" },
    main: "exit 3",
    status: 3,
    stdout: "after\n",
    stderr: "rkt: app x: the post-stop handler did not end within 8 s\n",
  },
];
test("how event handlers end", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const all = endings.map((c, i) => {
    const app = { exec: sh(c.main ?? "echo main"), eventHandlers: handlers(c.events) };
    const limit =
      c.annotation === undefined ? [] : [`--annotation=coreos.com/rocket/pre-start-timeout=${c.annotation}`];
    return finished(rkt.start(["run", image(rkt, app), `--name=x${i}`, ...limit]));
  });
  for (const [i, c] of endings.entries())
    await t.test(c.name, async () => {
      const { status, stdout, stderr } = (await all[i]) ?? assert.fail();
      const said = stderr.replace(`app x${i}:`, "app x:");
      assert.deepEqual({ status, stdout, stderr: said }, { status: c.status, stdout: c.stdout, stderr: c.stderr });
      const [file = ""] = globSync(join(rkt.dir, `containers/*/*/status/x${i}`));
      assert.equal(readFileSync(file, "utf8"), `${c.status}\n`);
    });
});

test("a handler that cannot be executed says so", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const app = { exec: sh("echo main"), eventHandlers: [{ name: "pre-start", exec: ["/nope"] }] };
  const { stdout } = rkt.fails(["run", image(rkt, app), "--name=x"], 203, /cannot execute "\/nope": no such file/);
  assert.equal(stdout, "");
});

test("a container that is to end does not wait for its pre-start handler", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const events = { "pre-start": "trap 'exit 5' TERM; echo begun; while :; do b sleep 0.1; done" };
  const child = rkt.start(["run", image(rkt, { exec: sh("echo main"), eventHandlers: handlers(events) }), "--name=x"]);
  const done = finished(child);
  await Promise.race([new Promise<void>((resolve) => child.stdout?.once("data", () => resolve())), done]);
  child.kill("SIGTERM");
  const { status, stdout } = await done;
  assert.deepEqual({ status, stdout }, { status: 5, stdout: "begun\n" });
});
