import assert from "node:assert/strict";
import { test } from "node:test";
import { type Account, resolveAccount } from "./accounts.ts";

const PASSWD = `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin

# toor:x:7:7::/:/bin/sh
broken line
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
admin:x:0:0:second name of root:/home/admin:/bin/zsh
1000:x:2000:2000:a name that is a number:/home/1000:/bin/sh
bare:x:3000:3000
overflow:x:4294967296:1::/:
minus:x:-1:1::/:
twice:x:41:41::/first:/bin/sh
twice:x:42:42::/second:/bin/sh
empty:x:50:50:::
nul:x:51:51::/\0:/bin/sh
`;
const GROUP = `root:x:0:
daemon:x:1:nobody
1000:x:2000:
wheel:x:10:root,admin
`;

const owner = (path: string) => {
  if (path === "/usr/bin/ping") return { uid: 65534, gid: 10 };
  throw Object.assign(new Error("ENOENT: no such file or directory, stat '/nothing'"), {
    code: "ENOENT",
    syscall: "stat",
    path,
  });
};

const cases: { user: string; group?: string; account: Omit<Account, "groups">; groups?: number[] }[] = [
  { user: "root", account: { uid: 0, gid: 0, name: "root", home: "/root", shell: "/bin/bash" }, groups: [10] },
  { user: "0", account: { uid: 0, gid: 0, name: "root", home: "/root", shell: "/bin/bash" } },
  // Of several names of one uid the one asked for.
  { user: "admin", account: { uid: 0, gid: 0, name: "admin", home: "/home/admin", shell: "/bin/zsh" }, groups: [10] },
  // The group that it has anyway is no further one.
  { user: "nobody", account: { uid: 65534, gid: 0, name: "nobody", home: "/nonexistent", shell: "/usr/sbin/nologin" }, groups: [1] },
  {
    user: "nobody",
    group: "daemon",
    account: { uid: 65534, gid: 1, name: "nobody", home: "/nonexistent", shell: "/usr/sbin/nologin" },
  },
  // A name comes before a number (aci.md).
  {
    user: "1000",
    group: "1000",
    account: { uid: 2000, gid: 2000, name: "1000", home: "/home/1000", shell: "/bin/sh" },
  },
  { user: "1001", group: "1001", account: { uid: 1001, gid: 1001, name: undefined, home: "/", shell: undefined } },
  { user: "4294967294", account: { uid: 4294967294, gid: 0, name: undefined, home: "/", shell: undefined } },
  { user: "bare", account: { uid: 3000, gid: 0, name: "bare", home: "/", shell: "/bin/sh" } },
  { user: "empty", account: { uid: 50, gid: 0, name: "empty", home: "/", shell: "/bin/sh" } },
  { user: "twice", account: { uid: 41, gid: 0, name: "twice", home: "/first", shell: "/bin/sh" } },
  {
    user: "/usr/bin/ping",
    group: "/usr/bin/ping",
    account: { uid: 65534, gid: 10, name: "nobody", home: "/nonexistent", shell: "/usr/sbin/nologin" },
  },
];

for (const { user, group = "0", account, groups = [] } of cases)
  test(`${user}:${group}`, () => {
    assert.deepEqual(resolveAccount({ user, group }, { passwd: PASSWD, group: GROUP, owner }), { ...account, groups });
  });

test("root needs no files", () => {
  assert.deepEqual(resolveAccount({ user: "root", group: "root" }, { passwd: "", group: "", owner }), {
    uid: 0,
    gid: 0,
    name: "root",
    home: "/root",
    shell: "/bin/sh",
    groups: [],
  });
});

const numbers: [numeric: ("user" | "group")[], uid: number, gid: number, home: string][] = [
  [[], 0, 0, "/"],
  [["user"], 1000, 0, "/"],
  [["group"], 0, 1000, "/"],
  [["user", "group"], 1000, 1000, "/"],
];
for (const [numeric, uid, gid, home] of numbers)
  test(`an image's user and group called 1000, of which a number is asked for: ${numeric.join() || "none"}`, () => {
    const sources = { passwd: "1000:x:0:0::/:/bin/sh\n", group: "1000:x:0:\nwheel:x:10:1000\n", owner };
    const found = resolveAccount({ user: "1000", group: "1000", numeric }, sources);
    assert.deepEqual([found.uid, found.gid, found.home], [uid, gid, home]);
    assert.deepEqual(found.groups, numeric.includes("user") ? [] : [10]);
  });

test("a number that is no id is said to be one", () => {
  const asked = { user: "4294967295", group: "0", numeric: ["user" as const] };
  assert.throws(() => resolveAccount(asked, { passwd: "", group: "", owner }), {
    message: `user "4294967295" is a number above 4294967294, the highest there can be`,
    exitCode: 217,
  });
});

const refused: { user: string; group?: string; message: string; exitCode: number }[] = [
  { user: "nginx", message: `user "nginx" is not in the image's /etc/passwd`, exitCode: 217 },
  { user: "toor", message: `user "toor" is not in the image's /etc/passwd`, exitCode: 217 },
  // An entry whose id is none is no entry.
  { user: "overflow", message: `user "overflow" is not in the image's /etc/passwd`, exitCode: 217 },
  { user: "minus", message: `user "minus" is not in the image's /etc/passwd`, exitCode: 217 },
  { user: "nul", message: `user "nul" is not in the image's /etc/passwd`, exitCode: 217 },
  // (uid_t)-1, which setresuid(2) takes for "leave it".
  { user: "4294967295", message: `user "4294967295" is not in the image's /etc/passwd`, exitCode: 217 },
  { user: "-1", message: `user "-1" is not in the image's /etc/passwd`, exitCode: 217 },
  { user: "", message: `user "" is not in the image's /etc/passwd`, exitCode: 217 },
  { user: "0", group: "www", message: `group "www" is not in the image's /etc/group`, exitCode: 216 },
  {
    user: "/nothing",
    message: "cannot take the user from the owner of /nothing: it does not exist in the image",
    exitCode: 217,
  },
  {
    user: "0",
    group: "/nothing",
    message: "cannot take the group from the owner of /nothing: it does not exist in the image",
    exitCode: 216,
  },
];

for (const { user, group = "0", message, exitCode } of refused)
  test(`refuses ${JSON.stringify(user)}:${group}`, () => {
    assert.throws(() => resolveAccount({ user, group }, { passwd: PASSWD, group: GROUP, owner }), {
      name: "RktError",
      message,
      exitCode,
    });
  });

const ociCases: { user: string; group: string; account: "own" | "given"; uid: number; gid: number; groups: number[] }[] = [
  // Without a group it is the user's own, also of a number that the image's files have.
  { user: "root", group: "0", account: "own", uid: 0, gid: 0, groups: [10] },
  { user: "0", group: "0", account: "own", uid: 0, gid: 0, groups: [10] },
  { user: "nobody", group: "0", account: "own", uid: 65534, gid: 65534, groups: [1] },
  { user: "65534", group: "0", account: "own", uid: 65534, gid: 65534, groups: [1] },
  { user: "1000", group: "0", account: "own", uid: 1000, gid: 0, groups: [] },
  { user: "bare", group: "0", account: "own", uid: 3000, gid: 3000, groups: [] },
  { user: "minus", group: "0", account: "own", uid: -1, gid: 0, groups: [] },
  { user: "7777", group: "0", account: "own", uid: 7777, gid: 0, groups: [] },
  // With one there are no further ones.
  { user: "root", group: "daemon", account: "given", uid: 0, gid: 1, groups: [] },
  { user: "nobody", group: "10", account: "given", uid: 65534, gid: 10, groups: [] },
];

for (const { user, group, account, uid, gid, groups } of ociCases)
  test(`a user of an OCI image: ${user}, ${account} ${group}`, () => {
    const numeric = (["user", "group"] as const).filter((what) => /^\d+$/.test({ user, group }[what]));
    const sources = { passwd: PASSWD, group: GROUP, owner };
    // The entry of this one has no number.
    if (uid < 0) assert.throws(() => resolveAccount({ user, group, account, numeric }, sources), { code: "unknown-user" });
    else {
      const found = resolveAccount({ user, group, account, numeric }, sources);
      assert.deepEqual({ uid: found.uid, gid: found.gid, groups: found.groups }, { uid, gid, groups });
    }
  });
