import assert from "node:assert/strict";
import { test } from "node:test";
import { errorCode } from "../../shared/errors.ts";
import { parseConfiguration } from "./configuration.ts";

const id = `sha256:${"3".repeat(64)}`;
const text = (config: unknown, over: object = {}): Buffer =>
  Buffer.from(
    JSON.stringify({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [id] }, config, ...over }),
  );

test("a configuration without a config, and with one that Go wrote empty", () => {
  const empty = { User: "", ExposedPorts: null, Env: null, Entrypoint: null, Cmd: [], Volumes: null, WorkingDir: "", Labels: null, StopSignal: "" };
  for (const config of [undefined, null, {}, empty])
    assert.deepEqual(parseConfiguration(text(config, { created: "", author: "" })), {
      ...{ architecture: "amd64", os: "linux", variant: undefined, created: undefined, author: undefined },
      ...{ diffIds: [id], user: { user: "0", group: undefined }, ports: [], environment: [], entrypoint: [], cmd: [] },
      ...{ volumes: [], workingDirectory: undefined, labels: [], stopSignal: undefined, healthcheck: undefined },
    });
});

const users: [text: string, user: string, group: string | undefined][] = [
  ["web", "web", undefined],
  ["33", "33", undefined],
  ["web:www", "web", "www"],
  ["33:34", "33", "34"],
  ["web:", "web", undefined],
  [":www", "0", "www"],
];
for (const [User, user, group] of users)
  test(`user ${User}`, () => assert.deepEqual(parseConfiguration(text({ User })).user, { user, group }));

test("ports, variables and working directories", () => {
  const parsed = parseConfiguration(
    text({ ExposedPorts: { "80/tcp": {}, "53/UDP": {}, "8000-8010/tcp": {}, "9": {} }, Env: ["A=1=2", "B", ""], WorkingDir: "srv" }),
  );
  assert.deepEqual(
    parsed.ports.map(({ port, count, protocol }) => `${port}+${count}/${protocol}`).sort(),
    ["53+1/udp", "80+1/tcp", "8000+11/tcp", "9+1/tcp"],
  );
  assert.deepEqual(parsed.environment, [
    { name: "A", value: "1=2" },
    { name: "B", value: "" },
    { name: "", value: "" },
  ]);
  assert.equal(parsed.workingDirectory, "/srv");
});

const refused: [name: string, config: unknown, over: object, message: RegExp][] = [
  ["a list for the config", [], {}, /config: must be an object/],
  ["no architecture", {}, { architecture: undefined }, /architecture: is required/],
  ["an architecture that is a path", {}, { architecture: "../x" }, /architecture: must be/],
  ["an os with a line", {}, { os: "linux\nroot" }, /os: must be/],
  ["no layers' digests", {}, { rootfs: undefined }, /rootfs: is required/],
  ["another kind of root", {}, { rootfs: { type: "directory", diff_ids: [] } }, /rootfs.type: must be "layers"/],
  ["a digest that is none", {}, { rootfs: { type: "layers", diff_ids: ["md5:0"] } }, /rootfs.diff_ids\[0\]: must be "sha256:"/],
  ["a user with a path", { User: "/etc/shadow" }, {}, /config.User: must be a name or a number/],
  ["a group with a path", { User: "web:/etc/shadow" }, {}, /config.User: must be a name or a number/],
  ["a user with a line", { User: "web\nroot" }, {}, /config.User: must not contain control characters/],
  ["a user that is a number", { User: 0 }, {}, /config.User: must be a string/],
  ["port 0", { ExposedPorts: { "0/tcp": {} } }, {}, /ExposedPorts\["0\/tcp"\]: must be a port/],
  ["port 65536", { ExposedPorts: { "65536": {} } }, {}, /must be a port/],
  ["a range that goes down", { ExposedPorts: { "20-10/tcp": {} } }, {}, /must be a port/],
  ["a protocol that is an option", { ExposedPorts: { "80/tcp,--privileged": {} } }, {}, /must be a port/],
  ["ports in a list", { ExposedPorts: ["80/tcp"] }, {}, /ExposedPorts: must be an object/],
  ["a variable with a strange name", { Env: ["A B=1"] }, {}, /Env\[0\]: its name must be/],
  ["a variable without a name", { Env: ["=1"] }, {}, /Env\[0\]: its name must be/],
  ["a variable that is too long", { Env: [`A=${"x".repeat(140_000)}`] }, {}, /Env\[0\]: must not be longer/],
  ["a NUL", { Cmd: ["a\0b"] }, {}, /U\+0000/],
  ["an entrypoint in one string", { Entrypoint: "/bin/sh -c x" }, {}, /Entrypoint: must be a list/],
  ["a volume at the root", { Volumes: { "/": {} } }, {}, /Volumes\["\/"\]: must be below the root/],
  ["a volume at a dot", { Volumes: { "/.": {} } }, {}, /must be below the root/],
  ["a relative volume", { Volumes: { data: {} } }, {}, /Volumes.data: must be absolute/],
  ["a volume that leads up", { Volumes: { "/data/../../etc": {} } }, {}, /must not have ".." components/],
  ["a working directory with a line", { WorkingDir: "/a\nb" }, {}, /WorkingDir: must not contain control/],
  ["a signal with a space", { StopSignal: "SIGTERM SIGKILL" }, {}, /StopSignal: must be/],
  ["a label that is a number", { Labels: { a: 1 } }, {}, /Labels.a: must be a string/],
  ["two spellings of a field", { User: "a", user: "b" }, {}, /user: is given twice/],
];
for (const [name, config, over, message] of refused)
  test(`a configuration is refused: ${name}`, () => {
    assert.throws(
      () => parseConfiguration(text(config, over)),
      (error: Error) => errorCode(error) === "manifest-invalid" && message.test(error.message) && error.message.startsWith("image configuration: "),
    );
  });

test("a configuration that is huge or deep is refused", () => {
  assert.throws(() => parseConfiguration(text({ Labels: { a: "x".repeat(5_000_000) } })), /must not be larger/);
  assert.throws(() => parseConfiguration(Buffer.from(`${'{"config":'.repeat(100)}0${"}".repeat(100)}`)), /nested deeper/);
  assert.throws(() => parseConfiguration(text({ Extra: Array(20_000).fill({}) })), /objects? or lists?/);
});
