/** syslog(3) of an app, and /etc/mtab. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { exampleAci, makeRkt, requires, rktBinary } from "../helpers/rkt.ts";
import { terminal } from "../helpers/terminal.ts";

const busybox = exampleAci("busybox");

for (const [name, options] of [
  ["users of the host", []],
  ["users of its own", ["--private-users"]],
] as const)
  test(`syslog is in the app's own log, and does not hold anybody up: ${name}`, (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const app = (name: string, script: string) => [
      busybox,
      `--name=${name}`,
      "--user=33",
      "--group=33",
      "--working-dir=/",
      "--exec=/bin/sh",
      "--",
      "-c",
      script,
    ];
    const one =
      "logger -t worker -p daemon.notice hello; rm -f /dev/log /run/systemd/journal/dev-log 2>/dev/null; logger -p local3.err more";
    const { stdout, stderr } = rkt.ok([
      "run",
      ...options,
      ...app("a", one),
      "---",
      ...app("b", "logger -t other there"),
    ]);
    assert.deepEqual([stdout, stderr], ["", ""]);
    const uuid = rkt.containers()[0]?.slice("run/".length) ?? "";
    assert.match(rkt.ok(["logs", "--app=a", uuid]).stderr, /^daemon\.notice worker: hello\nlocal3\.err \S+: more\n$/);
    assert.match(rkt.ok(["logs", "--app=b", uuid]).stderr, /^user\.notice other: there\n$/);
  });

for (const options of ["", "--private-users"])
  test(`syslog of an app that has the terminal ${options}`, async (t) => {
    if (!requires(t, "root", "build", "tmux")) return;
    const rkt = makeRkt(t);
    const line = `'${rktBinary}' --dir='${rkt.dir}' run --interactive ${options} '${busybox}' --exec=/bin/sh --user=33 --group=33 --working-dir=/`;
    const tty = terminal(t, `${line} -- -c 'logger -t worker -p daemon.notice hello; echo shown; exit 3'; echo status $?`);
    const screen = await tty.shows(/^status 3$/m);
    assert.match(screen, /^shown$/m);
    assert.doesNotMatch(screen, /hello$/m);
    const uuid = rkt.containers()[0]?.slice("run/".length) ?? "";
    const said = "rkt: container \\S+ is interactive: what its app says to a terminal is not kept\n";
    assert.match(rkt.ok(["logs", uuid]).stderr, new RegExp(`^${said}daemon\\.notice worker: hello\n$`));
  });

test("/etc/mtab is the kernel's list, where the image has none", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const script = "readlink /etc/mtab; grep -c ' / ' /etc/mtab";
  assert.equal(rkt.ok(["run", busybox, "--exec=/bin/sh", "--", "-c", script]).stdout, "/proc/self/mounts\n1\n");
});
