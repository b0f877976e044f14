/**
 * What an app makes of its own namespaces and of its /etc/passwd decides
 * nothing for who enters it, or for the handler of its end.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { compileAttack } from "../helpers/attack.ts";
import { dist, makeRkt, type Rkt, requires, scratchFile } from "../helpers/rkt.ts";

const FLAVORS: [name: string, options: string[], app: string[]][] = [
  ["nspawn, under a filter that lets an app make namespaces", [], ["--seccomp=mode=remove,reboot"]],
  ["--private-users, likewise", ["--private-users"], ["--seccomp=mode=remove,reboot"]],
  ["fly", [`--stage1-path=${join(dist, "stage1-fly.aci")}`], []],
];

/** An image whose user u is 1000, and may write to /etc/passwd. */
function image(rkt: Rkt, exec: string[], postStop?: string[]): string {
  const entries: Entry[] = [
    { name: "rootfs/bin/busybox", data: readFileSync("/usr/bin/busybox"), mode: 0o755 },
    { name: "rootfs/bin/sh", type: "2", link: "busybox" },
    { name: "rootfs/bin/attack", data: compileAttack(rkt.scratch), mode: 0o755 },
    { name: "rootfs/etc/passwd", data: "u:x:1000:1000::/:/bin/sh\n", mode: 0o666 },
    { name: "rootfs/tmp", type: "5", mode: 0o1777 },
  ];
  const eventHandlers = postStop === undefined ? [] : [{ name: "post-stop", exec: postStop }];
  const app = { exec, user: "u", group: "1000", eventHandlers };
  return scratchFile(rkt, "image.aci", makeAci(entries, manifest({ name: "example.com/impostor", app })));
}

/** Starts the app and waits for its first line. */
async function started(t: TestContext, rkt: Rkt, options: string[], aci: string, app: string[]) {
  const uuidFile = join(rkt.scratch, "uuid");
  const child = rkt.start(["--insecure-options=image", "run", `--uuid-file-save=${uuidFile}`, ...options, aci, ...app]);
  t.after(() => child.kill("SIGKILL"));
  let out = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    out += chunk;
  });
  await once(child.stdout as NonNullable<typeof child.stdout>, "data");
  return { child, uuid: readFileSync(uuidFile, "utf8").trim(), output: () => out };
}

const ID = ["/bin/busybox", "sh", "-c", "/bin/busybox id -u; /bin/busybox id -g"];

for (const [name, options, more] of FLAVORS) {
  test(`${name}: nobody enters the namespaces that an app has put over its own`, async (t) => {
    if (!requires(t, "root", "build", "gcc")) return;
    const rkt = makeRkt(t);
    const { uuid, output } = await started(t, rkt, options, image(rkt, ["/bin/attack", "impostor"]), more);
    assert.equal(output(), "ready\n", "it could make them");
    const done = rkt.run(["enter", uuid, "/bin/sh", "-c", "/bin/busybox id -u"]);
    assert.equal(done.stdout, "");
    assert.notEqual(done.status, 0);
    assert.match(done.stderr, /namespaces of its own/);
  });

  test(`${name}: an app that rewrites its /etc/passwd is entered, and ends, as who it began`, async (t) => {
    if (!requires(t, "root", "build", "gcc")) return;
    const rkt = makeRkt(t);
    const script = 'echo "u:x:0:0::/:/bin/sh" >/etc/passwd; trap "exit 0" TERM; echo ready; while :; do /bin/busybox sleep 1; done';
    const aci = image(rkt, ["/bin/sh", "-c", script], ID);
    const { child, uuid, output } = await started(t, rkt, options, aci, []);
    const entered = rkt.ok(["enter", uuid, ...ID]);
    assert.equal(entered.stdout, "1000\n1000\n");
    rkt.ok(["stop", uuid]);
    if (child.exitCode === null) await once(child, "close");
    assert.equal(output(), "ready\n1000\n1000\n", "the handler of its end");
  });
}
