import assert from "node:assert/strict";
import { test } from "node:test";
import { nspawnCommand } from "./nspawn-args.ts";

const uuid = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";

test("the whole command line", () => {
  const { path, argv } = nspawnCommand({ uuid, hostname: "db", stdio: "pipe", apps: ["a", "b"], debug: false });
  assert.equal(path, "./stage1/rootfs/usr/lib64/ld-linux-x86-64.so.2");
  assert.deepEqual(argv, [
    "./stage1/rootfs/usr/lib64/ld-linux-x86-64.so.2",
    "--library-path",
    "./stage1/rootfs/usr/lib/x86_64-linux-gnu:./stage1/rootfs/usr/lib/x86_64-linux-gnu/systemd",
    "./stage1/rootfs/usr/bin/systemd-nspawn",
    "--quiet",
    "--directory=./stage1/rootfs",
    `--machine=rkt-${uuid}`,
    `--uuid=${uuid}`,
    "--hostname=db",
    "--register=no",
    "--keep-unit",
    "--settings=no",
    "--link-journal=no",
    "--resolv-conf=off",
    "--timezone=off",
    "--console=pipe",
    "--kill-signal=SIGRTMIN+3",
    "/usr/bin/setpriv",
    "--pdeathsig",
    "KILL",
    "/usr/lib/rkt/pid1",
    "pipe",
    "a",
    "b",
    "--",
    "--log-target=null",
    "--show-status=0",
  ]);
});

for (const [stdio, console] of [
  ["pipe", "pipe"],
  ["stdin", "pipe"],
  ["interactive", "interactive"],
] as const)
  test(`stdio ${stdio} needs nspawn's console ${console}`, () => {
    const { argv } = nspawnCommand({ uuid, hostname: "x", stdio, apps: ["a"], debug: false });
    assert.ok(argv.includes(`--console=${console}`));
    assert.equal(argv[argv.indexOf("/usr/lib/rkt/pid1") + 1], stdio);
  });

test("users of the container's own, whose files are mapped already", () => {
  const users = { first: 524_288, count: 65_536 };
  const { argv } = nspawnCommand({ uuid, hostname: "x", stdio: "pipe", apps: ["a"], debug: false, users });
  assert.deepEqual(
    argv.filter((word) => word.startsWith("--private-users")),
    ["--private-users=524288:65536", "--private-users-ownership=off"],
  );
});

test("capabilities that nspawn does not give unasked", () => {
  const capabilities = ["CAP_NET_ADMIN"];
  const { argv } = nspawnCommand({ uuid, hostname: "x", stdio: "pipe", apps: ["a"], debug: false, capabilities });
  assert.deepEqual(
    argv.filter((word) => word.startsWith("--capability")),
    ["--capability=CAP_NET_ADMIN"],
  );
});

test("--debug makes systemd talk", () => {
  const { argv } = nspawnCommand({ uuid, hostname: "x", stdio: "pipe", apps: ["a"], debug: true });
  assert.deepEqual(argv.slice(argv.indexOf("--") + 1), [
    "--log-target=console",
    "--log-level=debug",
    "--show-status=0",
  ]);
});
