import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { sinceTime } from "../commands/logs.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { hostPath } from "../../shared/contract/paths.ts";
import { openLogs } from "./log.ts";

function container(t: TestContext, apps = ["a"]) {
  const dir = mkdtempSync(join(tmpdir(), "rkt-log-"));
  const layout = containerLayout(dir);
  mkdirSync(layout.log);
  const path = (app: string, stream: "stdout" | "stderr" = "stdout") => layout.appLog(app, stream);
  const logs = openLogs(hostPath(dir), apps);
  t.after(() => {
    logs.close();
    rmSync(dir, { recursive: true });
  });
  const read = () => logs.read().map(({ app, stream, text }) => `${app} ${stream} ${text}`);
  return { dir, path, logs, read };
}

const line = (second: number, text: string, flag = "F"): string =>
  `2026-11-23T16:00:${String(second).padStart(2, "0")}.000000000Z stdout ${flag} ${text}\n`;

test("the streams of all apps in the order of time, each in its own", (t) => {
  const { path, read } = container(t, ["a", "b"]);
  writeFileSync(path("a"), line(1, "one") + line(4, "four") + line(2, "the clock was set back"));
  writeFileSync(path("a", "stderr"), line(2, "two"));
  writeFileSync(path("b"), line(3, "three"));
  assert.deepEqual(read(), [
    "a stdout one\n",
    "a stderr two\n",
    "b stdout three\n",
    "a stdout four\n",
    "a stdout the clock was set back\n",
  ]);
});

test("text is as it was written: without a newline, with spaces, with any byte", (t) => {
  const { path, logs } = container(t);
  const odd = Buffer.from([0, 1, 0xff, 0x0d, 0x20]);
  writeFileSync(path("a"), Buffer.concat([Buffer.from(line(1, "").trimEnd()), Buffer.from(" "), odd, Buffer.of(0x0a)]));
  appendFileSync(path("a"), line(1, "no end", "P") + line(1, "", "F") + line(1, "  x  "));
  const text = Buffer.concat(logs.read().map((entry) => entry.text));
  assert.deepEqual(text, Buffer.concat([odd, Buffer.from("\nno end\n  x  \n")]));
});

test("what is added is read once, a line when it is whole, through one rotation, or two, between two reads", (t) => {
  const { path, read } = container(t);
  const rotate = () => renameSync(path("a"), `${path("a")}.1`);
  assert.deepEqual(read(), []);
  writeFileSync(path("a"), line(1, "1"));
  rotate();
  writeFileSync(path("a"), line(2, "2") + line(3, "3").slice(0, -3));
  assert.deepEqual(read(), ["a stdout 1\n", "a stdout 2\n"]);
  assert.deepEqual(read(), []);
  appendFileSync(path("a"), line(3, "3").slice(-3));
  rotate();
  assert.deepEqual(read(), ["a stdout 3\n"]);
  writeFileSync(path("a"), line(4, "4"));
  rotate();
  writeFileSync(path("a"), line(5, "5"));
  assert.deepEqual(read(), ["a stdout 4\n", "a stdout 5\n"]);
  appendFileSync(path("a"), line(6, "6"));
  assert.deepEqual(read(), ["a stdout 6\n"]);
});

test("the directory may be renamed meanwhile", (t) => {
  const { dir, path, read } = container(t);
  assert.deepEqual(read(), []);
  writeFileSync(path("a"), line(1, "1"));
  renameSync(dir, `${dir}-moved`);
  assert.deepEqual(read(), ["a stdout 1\n"]);
  renameSync(`${dir}-moved`, dir);
});

test("what is no line of a log is left out", (t) => {
  const { path, read } = container(t);
  writeFileSync(
    path("a"),
    `\n\ngarbage\n${line(1, "a")}2026-11-23T16:00:00Z stdout F no nanoseconds\n${line(2, "x", "Q")}${line(3, "b")}${line(4, "torn").slice(0, 20)}\n`,
  );
  assert.deepEqual(read(), ["a stdout a\n", "a stdout b\n"]);
});

test("no link, FIFO, socket or directory is read; a sparse monster costs no memory", (t) => {
  const { dir, path, read } = container(t);
  const secret = join(dir, "secret");
  writeFileSync(secret, line(1, "secret"));
  for (const make of [
    () => symlinkSync(secret, path("a")),
    () => symlinkSync("../secret", path("a")),
    () => assert.equal(spawnSync("mkfifo", [path("a")]).status, 0),
    () => mkdirSync(path("a")),
  ]) {
    make();
    assert.deepEqual(read(), []);
    rmSync(path("a"), { recursive: true });
  }
  writeFileSync(path("a"), line(1, "lost"));
  assert.equal(spawnSync("truncate", ["-s", "1T", path("a")]).status, 0);
  appendFileSync(path("a"), `\n${line(2, "last")}`);
  assert.deepEqual(read(), ["a stdout last\n"]);
});

const now = Date.parse("2026-11-23T16:00:00.500Z");
const times: [text: string, time: string][] = [
  ["0", "2026-11-23T16:00:00.500000000Z"],
  ["1h30m", "2026-11-23T14:30:00.500000000Z"],
  ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000000Z"],
  ["2026-01-02T03:04:05.25+01:00", "2026-01-02T02:04:05.250000000Z"],
];
for (const [text, time] of times) test(`--since=${text}`, () => assert.equal(sinceTime(text, now), time));

for (const text of ["yesterday", "", "2026-13-01T00:00:00Z", "2026-01-02", "-5m"])
  test(`--since=${JSON.stringify(text)} is refused`, () =>
    assert.throws(() => sinceTime(text, now), { code: "usage", message: /^--since: / }));
