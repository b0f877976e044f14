import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { commandTable } from "../command-table.ts";
import { runCommand } from "./dispatch.ts";
import { helpPage } from "./help.ts";

const { commands } = commandTable;

const MAIN = join(import.meta.dirname, "../main.ts");

function rkt(...words: string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--no-warnings", MAIN, ...words], {
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}

const refused: { words: string[]; stderr: string }[] = [
  { words: [], stderr: "rkt: there is no command\nhint: `rkt help` lists the commands\n" },
  { words: ["rnu", "x.aci"], stderr: 'rkt: unknown command "rnu"\nhint: did you mean `rkt run`?\n' },
  { words: ["frobnicate"], stderr: 'rkt: unknown command "frobnicate"\nhint: `rkt help` lists the commands\n' },
  {
    words: ["image", "lits"],
    stderr: 'rkt: unknown command "image lits"\nhint: did you mean `rkt image list`?\n',
  },
  {
    words: ["image", "frobnicate"],
    stderr: 'rkt: unknown command "image frobnicate"\nhint: `rkt help image` lists the commands\n',
  },
  {
    words: ["help", "image", "frobnicate"],
    stderr: 'rkt: help: unknown command "image frobnicate"\nhint: `rkt help image` lists the commands\n',
  },
  { words: ["image", "--frobnicate"], stderr: "rkt: unknown option --frobnicate\nhint: --help lists the options\n" },
  { words: ["\u001b[31m"], stderr: 'rkt: unknown command "\\x1b[31m"\nhint: `rkt help` lists the commands\n' },
  { words: ["--dri=/x", "run"], stderr: "rkt: unknown option --dri\nhint: did you mean --dir?\n" },
  { words: ["run", "--volum=x", "y"], stderr: "rkt: run: unknown option --volum\nhint: did you mean --volume?\n" },
  { words: ["version", "x"], stderr: 'rkt: version: unexpected argument "x"\nhint: usage: rkt version\n' },
  {
    words: ["fetch"],
    stderr: "rkt: fetch: an argument is missing\nhint: usage: rkt fetch [options] IMAGE...; see `rkt fetch --help`\n",
  },
  { words: ["help", "rnu"], stderr: 'rkt: help: unknown command "rnu"\nhint: did you mean `rkt run`?\n' },
  {
    words: ["run", "--insecure-options=imgae", "x"],
    stderr:
      'rkt: run: --insecure-options: "imgae" is no check\nhint: there are image, tls, http, pubkey, ondisk, capabilities, paths, seccomp, none, all-fetch, all-run, all\n',
  },
];

for (const { words, stderr } of refused)
  test(`rkt ${JSON.stringify(words)} is refused`, () => {
    assert.deepEqual(rkt(...words), { status: 2, stdout: "", stderr });
  });

test("rkt version, however it is asked for", () => {
  const { stdout, ...rest } = rkt("version");
  assert.match(stdout, /^rkt version [0-9]+\.[0-9]+\.[0-9]+\nappc version 0\.8\.11\n(?:node version 26|bun version 1)\.[0-9.]+\n$/);
  assert.deepEqual(rest, { status: 0, stderr: "" });
  for (const words of [["--version"], ["-version"], ["--dir=/x", "version"], ["version", "--quiet"]])
    assert.deepEqual(rkt(...words), { stdout, ...rest }, words.join(" "));
});

test("options of a command may stand before its name", () => {
  for (const words of [
    ["--net=host", "run", "--help"],
    ["--net", "--rm", "run", "--help"],
    // The value of one option, and then the command.
    ["--hostname", "run", "run", "--help"],
    ["--dir=/x", "--volume", "a:/b", "--debug", "run", "--help"],
  ])
    assert.deepEqual(rkt(...words), rkt("help", "run"), words.join(" "));
  assert.deepEqual(rkt("--full", "image", "list", "--help"), rkt("help", "image", "list"));
  assert.deepEqual(rkt("image", "--full", "list", "--help"), rkt("help", "image", "list"));
  // An image's options follow the image.
  const misplaced = rkt("--user=1", "run", "x.aci");
  assert.deepEqual([misplaced.status, misplaced.stderr.split("\n")[0]], [2, "rkt: run: --user must follow an image"]);
  const nobodys = rkt("--full", "run", "x.aci");
  assert.deepEqual(nobodys, { status: 2, stdout: "", stderr: nobodys.stderr });
  assert.match(nobodys.stderr, /^rkt: unknown option --full\n/);
});

test("a command by its other name", () => {
  const stats = rkt("stats", "--help");
  assert.match(stats.stdout, /^Usage: rkt top /);
  assert.deepEqual(stats, rkt("top", "--help"));
});

test("rkt help, however it is asked for", () => {
  const first = rkt("help");
  assert.deepEqual([first.status, first.stderr], [0, ""]);
  for (const { name, summary } of commands) assert.match(first.stdout, new RegExp(`^  rkt ${name} +${summary}$`, "m"));
  assert.deepEqual(rkt("--help"), first);
  assert.deepEqual(rkt("-h"), first);

  const run = rkt("help", "run");
  assert.match(run.stdout, /^Usage: rkt run /);
  for (const words of [
    ["run", "--help"],
    ["run", "x.aci", "-help"],
    ["-h", "run"],
  ])
    assert.deepEqual(rkt(...words), run, words.join(" "));
});

test("the commands of a group, however they are asked for", () => {
  const page = rkt("image");
  assert.deepEqual([page.status, page.stderr], [0, ""]);
  assert.match(page.stdout, /^Usage: rkt image COMMAND /);
  for (const { name, summary } of commands)
    assert.equal(
      page.stdout.includes(`  rkt ${name} `) && page.stdout.includes(summary),
      name.startsWith("image "),
      name,
    );
  for (const words of [
    ["image", "--help"],
    ["-h", "image"],
    ["help", "image"],
    ["--dir=/x", "image", "--quiet"],
  ])
    assert.deepEqual(rkt(...words), page, words.join(" "));
  assert.deepEqual(rkt("image", "--quiet", "list", "--help"), rkt("help", "image", "list"));
});

for (const { name } of commands)
  for (const width of [60, 80, 110])
    test(`the page of rkt ${name} fits ${width} columns, and explains every option`, async () => {
      const page = await helpPage(name, commandTable, width);
      assert.match(page, new RegExp(`^Usage: rkt ${name}`));
      // Examples stay whole: they are there to be copied.
      const [prose = ""] = page.split("\nExamples:\n");
      assert.deepEqual(
        prose.split("\n").filter((line) => line.length > width),
        [],
      );
      const entry = commands.find((command) => command.name === name);
      const { command } = (await entry?.load()) ?? assert.fail();
      for (const [option, { hidden, description }] of Object.entries(command.options)) {
        assert.equal(page.includes(`--${option}`), hidden !== true, option);
        assert.notEqual(description, "", option);
      }
      for (const [words] of command.examples) assert.ok(words.startsWith("rkt "), words);
    });

test("only root may run containers, and anybody may ask how", async (t) => {
  const { geteuid } = process;
  process.geteuid = () => 1000;
  t.after(() => Object.assign(process, { geteuid }));
  const context = { command: undefined, debug: false, json: undefined };
  await assert.rejects(runCommand(["run", "x.aci"], commandTable, context), {
    code: "not-root",
    message: "only root can do this",
    hint: "sudo rkt run ...",
    exitCode: 254,
  });
  assert.equal(context.command, "run");
  await assert.rejects(runCommand(["run", "--bogus"], commandTable, context), { code: "usage" });
});

test("a reader of stdout that has gone is no error to speak of", async () => {
  const child = spawn("sh", ["-c", 'read go; exec "$0" --no-warnings "$@"', process.execPath, MAIN, "help", "run"]);
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text) => {
    stderr += text;
  });
  child.stdout.destroy();
  await once(child.stdout, "close");
  child.stdin.end("go\n");
  const [status] = await once(child, "close");
  assert.deepEqual([status, stderr], [141, ""]);
});

test("a stdout that takes nothing is an error", () => {
  const { status, stderr } = spawnSync(
    "sh",
    ["-c", '"$0" --no-warnings "$@" > /dev/full', process.execPath, MAIN, "version"],
    {
      encoding: "utf8",
    },
  );
  assert.equal(status, 254);
  assert.match(stderr, /^rkt: version: write: ENOSPC\n/);
});

test("a file that is not there", () => {
  const data = mkdtempSync(join(tmpdir(), "rkt-cli-"));
  try {
    const { status, stderr } = rkt(`--dir=${data}`, "run", "--set-env-file=/nonexistent/env", "x.aci");
    assert.deepEqual(
      [status, stderr],
      [254, "rkt: run: there is no file /nonexistent/env\nhint: give the path of a file that is there\n"],
    );
  } finally {
    rmSync(data, { recursive: true });
  }
});
