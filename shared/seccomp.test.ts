import assert from "node:assert/strict";
import { test } from "node:test";
import type { KnownIsolators, SeccompSet } from "./schema/isolators.ts";
import { errorNumber, expandSystemCalls, isSystemCall, SYSTEM_CALL_SETS } from "./schema/system-calls.ts";
import { allows, allowsNamespaces, defaultFilter, isolatorFilter, type SystemCallFilter } from "./seccomp.ts";
import { systemCallNumbers } from "./system-call-numbers.ts";

const retain = (...set: string[]): KnownIsolators => ({ "os/linux/seccomp-retain-set": { set, errno: undefined } });
const remove = (...set: string[]): KnownIsolators => ({ "os/linux/seccomp-remove-set": { set, errno: undefined } });
const rule = (filter: SystemCallFilter | undefined, call: string) => filter?.rules.filter((one) => one.call === call);

test("remove-set: the named calls, and all others are allowed", () => {
  const isolator: SeccompSet = { set: ["reboot", "clock_settime"], errno: "ENOTSUP" };
  assert.deepEqual(isolatorFilter({ "os/linux/seccomp-remove-set": isolator }), {
    otherwise: "allow",
    unknown: "allow",
    rules: [
      { call: "reboot", action: 95 },
      { call: "clock_settime", action: 95 },
    ],
  });
  assert.deepEqual(isolatorFilter(remove("reboot"))?.rules, [{ call: "reboot", action: "kill" }]);
});

test("remove-set: what a life takes is refused by its name, and stays where a wildcard has it", () => {
  const ends = ["exit", "exit_group", "rt_sigreturn", "sigreturn"];
  assert.deepEqual(
    isolatorFilter(remove(...ends))?.rules,
    ends.map((call) => ({ call, action: "kill" })),
  );
  const all = isolatorFilter(remove("@appc.io/all", "exit"));
  assert.deepEqual(rule(all, "exit"), [{ call: "exit", action: "kill" }]);
  for (const call of ["execve", "exit_group", "rt_sigreturn", "sigreturn"]) assert.deepEqual(rule(all, call), []);
});

test("retain-set: the named calls and what a life takes", () => {
  const filter = isolatorFilter(retain("read", "clone"));
  assert.equal(filter?.otherwise, "kill");
  const calls = ["read", "clone", "execve", "execveat", "exit", "exit_group", "rt_sigreturn", "sigreturn"];
  assert.deepEqual(
    filter?.rules,
    calls.map((call) => ({ call, action: "allow" })),
  );
});

test("the specification's wildcards", () => {
  assert.equal(isolatorFilter(retain("read", "@appc.io/all")), undefined);
  assert.deepEqual(isolatorFilter(remove("mount", "@appc.io/empty")), defaultFilter());
  assert.deepEqual(isolatorFilter({}), defaultFilter());
  assert.equal(isolatorFilter(retain("@appc.io/empty"))?.rules.length, 6);
  // What no app starts without stays.
  assert.equal(rule(isolatorFilter(remove("@appc.io/all")), "execve")?.length, 0);
  // By which the launcher starts the app, whoever refuses it to the app.
  assert.deepEqual(rule(isolatorFilter(remove("execveat")), "execveat"), [
    { call: "execveat", action: "allow", arguments: [{ index: 4, mask: 0xffffffff, value: 0x1000 }] },
    { call: "execveat", action: "kill" },
  ]);
});

test("the default lists let threads and processes be made, and no namespaces", () => {
  const threads = { call: "clone", action: "allow", arguments: [{ index: 0, mask: 0x7e020000, value: 0 }] };
  const allowed = isolatorFilter(retain("@rkt/default-whitelist"));
  assert.deepEqual(rule(allowed, "clone"), [threads, { call: "clone", action: "kill" }]);
  assert.deepEqual(rule(allowed, "clone3"), [{ call: "clone3", action: 38 }]);
  const removed = isolatorFilter(remove("@rkt/default-blacklist"));
  assert.deepEqual(rule(removed, "clone"), [threads, { call: "clone", action: "kill" }]);
  assert.deepEqual(rule(removed, "clone3"), [{ call: "clone3", action: 38 }]);
  // Who names a call wants it as it is.
  const named = isolatorFilter(retain("@rkt/default-whitelist", "clone", "clone3"));
  assert.deepEqual(rule(named, "clone"), [{ call: "clone", action: "allow" }]);
  assert.deepEqual(rule(named, "clone3"), [{ call: "clone3", action: "allow" }]);
});

test("a number that has no name: what a default list leaves to C libraries, what others say of the rest", () => {
  const cases: [KnownIsolators, SystemCallFilter["unknown"]][] = [
    [{}, 38],
    [retain("@docker/default-whitelist"), 38],
    [remove("@rkt/default-blacklist", "mkdir"), 38],
    [retain("read"), "kill"],
    [remove("@appc.io/all"), "kill"],
    [remove("mkdir"), "allow"],
  ];
  for (const [isolators, unknown] of cases) assert.equal(isolatorFilter(isolators)?.unknown, unknown);
});

test("the default filter gives a capability the calls it is for, and CAP_SYS_ADMIN none", () => {
  assert.deepEqual(defaultFilter(["CAP_BPF", "CAP_DAC_READ_SEARCH", "CAP_SYS_BOOT"]), defaultFilter());
  const [administers, usual] = [defaultFilter(["CAP_SYS_ADMIN"]), defaultFilter()];
  for (const call of expandSystemCalls("@appc.io/all") ?? [])
    assert.equal(allows(administers, call), call === "ioctl" ? "partly" : allows(usual, call), call);
  const more = (capability: string) => {
    const usual = defaultFilter();
    return defaultFilter([capability]).rules.filter(({ call }) => allows(usual, call) === "no" && call !== "clone3");
  };
  assert.deepEqual(more("CAP_SYSLOG"), [{ call: "syslog", action: "allow" }]);
  assert.deepEqual(
    more("CAP_SYS_PTRACE").map(({ call }) => call),
    ["kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace"],
  );
});

test("no default list allows what its counterpart blocks", () => {
  for (const scope of ["rkt", "docker"]) {
    const blocked = new Set(expandSystemCalls(`@${scope}/default-blacklist`));
    const both = expandSystemCalls(`@${scope}/default-whitelist`)?.filter((call) => blocked.has(call));
    assert.deepEqual(both, []);
  }
});

test("every call of this machine has a name, and default lists have nothing but names", () => {
  for (const machine of ["x86_64", "i386"] as const)
    for (const call of systemCallNumbers(machine).keys()) assert.ok(isSystemCall(call), call);
  for (const set of SYSTEM_CALL_SETS)
    for (const call of expandSystemCalls(set) ?? []) assert.ok(isSystemCall(call), call);
});

test("numbers of errors are the system's", async () => {
  const { constants } = await import("node:os");
  for (const [name, number] of Object.entries(constants.errno)) assert.equal(errorNumber(name), number, name);
  assert.equal(errorNumber("EHWPOISON"), 133);
  assert.equal(errorNumber("EACCESS"), errorNumber("EACCES"));
  for (const name of ["-", "", "EWHATEVER", "constructor"]) assert.equal(errorNumber(name), undefined);
});

test("the default filter lets nobody make a namespace, whatever the capabilities", () => {
  for (const capabilities of [[], ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]]) assert.equal(allowsNamespaces(defaultFilter(capabilities)), false);
  for (const isolators of [remove("reboot"), retain("unshare"), retain("clone")])
    assert.equal(allowsNamespaces(isolatorFilter(isolators)), true);
  assert.equal(allowsNamespaces(undefined), true);
});
