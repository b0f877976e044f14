import assert from "node:assert/strict";
import { test } from "node:test";
import type { KnownIsolators, SeccompSet } from "./schema/isolators.ts";
import { errorNumber, expandSystemCalls, isSystemCall, SYSTEM_CALL_SETS } from "./schema/system-calls.ts";
import { defaultFilter, isolatorFilter, type SystemCallFilter } from "./seccomp.ts";
import { compileFilter } from "./syscall/seccomp.ts";

const retain = (...set: string[]): KnownIsolators => ({ "os/linux/seccomp-retain-set": { set, errno: undefined } });
const remove = (...set: string[]): KnownIsolators => ({ "os/linux/seccomp-remove-set": { set, errno: undefined } });
const rule = (filter: SystemCallFilter | undefined, call: string) => filter?.rules.filter((one) => one.call === call);

test("remove-set: the named calls, and all others are allowed", () => {
  const isolator: SeccompSet = { set: ["reboot", "clock_settime"], errno: "ENOTSUP" };
  assert.deepEqual(isolatorFilter({ "os/linux/seccomp-remove-set": isolator }), {
    otherwise: "allow",
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
  const calls = ["read", "clone", "execve", "exit", "exit_group", "rt_sigreturn", "sigreturn"];
  assert.deepEqual(
    filter?.rules,
    calls.map((call) => ({ call, action: "allow" })),
  );
});

test("the specification's wildcards", () => {
  assert.equal(isolatorFilter(retain("read", "@appc.io/all")), undefined);
  assert.deepEqual(isolatorFilter(remove("mount", "@appc.io/empty")), defaultFilter());
  assert.deepEqual(isolatorFilter({}), defaultFilter());
  assert.equal(isolatorFilter(retain("@appc.io/empty"))?.rules.length, 5);
  // What no app starts without stays.
  assert.equal(rule(isolatorFilter(remove("@appc.io/all")), "execve")?.length, 0);
});

test("the default lists let threads and processes be made, and no namespaces", () => {
  const allowed = isolatorFilter(retain("@rkt/default-whitelist"));
  assert.deepEqual(rule(allowed, "clone"), [
    { call: "clone", action: "allow", argument: { index: 0, mask: 0x7e020000, value: 0 } },
  ]);
  assert.deepEqual(rule(allowed, "clone3"), [{ call: "clone3", action: 38 }]);
  const refused = rule(defaultFilter(), "clone") ?? [];
  assert.equal(refused.length, 7);
  assert.equal(
    refused.reduce((all, one) => all | (one.argument?.mask ?? 0), 0),
    0x7e020000,
  );
  // Who names a call wants it as it is.
  const named = isolatorFilter(retain("@rkt/default-whitelist", "clone", "clone3"));
  assert.deepEqual(rule(named, "clone"), [{ call: "clone", action: "allow" }]);
  assert.deepEqual(rule(named, "clone3"), [{ call: "clone3", action: "allow" }]);
});

test("no default list allows what its counterpart blocks", () => {
  for (const scope of ["rkt", "docker"]) {
    const blocked = new Set(expandSystemCalls(`@${scope}/default-blacklist`));
    const both = expandSystemCalls(`@${scope}/default-whitelist`)?.filter((call) => blocked.has(call));
    assert.deepEqual(both, []);
  }
});

test("libseccomp knows every name", () => {
  for (const set of SYSTEM_CALL_SETS)
    for (const call of expandSystemCalls(set) ?? []) assert.ok(isSystemCall(call), call);
  const all = expandSystemCalls("@appc.io/all") ?? [];
  const filter: SystemCallFilter = { otherwise: "allow", rules: all.map((call) => ({ call, action: 1 })) };
  assert.ok(compileFilter(filter).length > 1000);
  assert.throws(() => compileFilter({ otherwise: "kill", rules: [{ call: "opne", action: "allow" }] }), /"opne"/);
});

test("a filter is whole instructions, the same each time", () => {
  const program = compileFilter(defaultFilter());
  assert.equal(program.length % 8, 0);
  assert.ok(program.equals(compileFilter(defaultFilter())));
});

test("numbers of errors are the system's", async () => {
  const { constants } = await import("node:os");
  for (const [name, number] of Object.entries(constants.errno)) assert.equal(errorNumber(name), number, name);
  assert.equal(errorNumber("EHWPOISON"), 133);
  assert.equal(errorNumber("EACCESS"), errorNumber("EACCES"));
  for (const name of ["-", "", "EWHATEVER", "constructor"]) assert.equal(errorNumber(name), undefined);
});
