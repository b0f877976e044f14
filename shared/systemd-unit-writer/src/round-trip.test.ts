/**
 * What systemd makes of the text: it is booted in a container with the
 * machine's own /usr, and runs the commands that the units name. They write
 * down what they were given.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { before, type TestContext, test } from "node:test";
import {
  type ExecPrefix,
  environment,
  escapeName,
  execLine,
  path,
  specifierEscape,
  type UnitOption,
  unitNames,
  words,
  writeUnit,
} from "./index.ts";

/** Words that a writer gets wrong, each of another kind. */
const HOSTILE = [
  "",
  " ",
  "  leading and trailing  ",
  "\t",
  "\n",
  "a\nExecStart=/bin/false\n[Unit]",
  "\r\nUser=nobody",
  "\\",
  "a\\",
  "\\\\",
  "\\n",
  "\\x41",
  "\\\n",
  '"',
  "'",
  "\"'\"'",
  '"unbalanced',
  "%",
  "%%",
  "%n %i %H %%h %",
  "$",
  "$$",
  "$HOME",
  `\${HOME} x\${PATH}`,
  "a$HOME",
  ";",
  "\\;",
  "; /bin/false",
  "#",
  "-",
  "@/bin/false",
  "*?[a-z]{a,b}~",
  "\u0001\u0007\b\v\f\u001b[31m\u007f",
  "\u0085\u00a0\u2028\u202e\ufeff",
  "\ufffe\ufdd0\u{10ffff}",
  "é日本😀",
  "w".repeat(100_000),
  '\n"\\%$'.repeat(20_000),
];

/** The same words every time: mulberry32. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** Characters with a meaning to systemd, and letters and digits that give escapes and specifiers one. */
const ALPHABET = [
  ..."\\\\\\\"\"''%%%$${$}();;#=[]-@:+!| \t\n\r\v\f\u0001\u001b\u007f\u0085anrtuUxHi0179é\u2028\ufffe😀",
];

function randomWords(seed: number, count: number, alphabet = ALPHABET): string[] {
  const next = random(seed);
  const pick = () => alphabet[next(alphabet.length)] ?? "";
  return Array.from({ length: count }, () => Array.from({ length: next(24) }, pick).join(""));
}

const SHELL = "/bin/sh";
/** Writes its own command line and environment, as the kernel has them, and its working directory. */
const DUMP = `cat /proc/$$/cmdline >"$0"; cat /proc/$$/environ >"$0.env"; readlink -n /proc/$$/cwd >"$0.cwd"`;

interface Command {
  name: string;
  argv: string[];
  prefixes: ExecPrefix[];
  /** What execve(2) is to get. */
  expected: string[];
}

const commands: Command[] = [];

function command(name: string, arguments_: string[], prefixes: ExecPrefix[] = []): void {
  const dump = (argv0: string[]) => [...argv0, "-c", DUMP, `/out/${commands.length}`, ...arguments_];
  const argv = dump(prefixes.includes("@") ? [SHELL, "%argv\n0$$"] : [SHELL]);
  commands.push({ name, argv, prefixes, expected: prefixes.includes("@") ? argv.slice(1) : argv });
}

command("hostile words", HOSTILE);
command("hostile words, no variables", HOSTILE, [":"]);
command("hostile words and argv[0]", HOSTILE, ["@"]);
command("hostile words, several prefixes", HOSTILE, ["-", "@", ":", "+"]);
for (let seed = 1; seed <= 24; seed++) command(`random words, seed ${seed}`, randomWords(seed, 100));
command("random words, no variables", randomWords(1000, 500), [":"]);

/** Names of programs, links to the shell: where systemd looks for prefixes, specifiers and variables. */
const PROGRAMS: { name: string; prefixes?: ExecPrefix[] }[] = [
  { name: "two words" },
  { name: "%n" },
  { name: "; #" },
  { name: "-@:+!|" },
  { name: "é😀" },
  { name: "$HOME", prefixes: [":"] },
  { name: `$$\${HOME}`, prefixes: [":"] },
];
for (const { name, prefixes = [] } of PROGRAMS) {
  const argv = [`/programs/${name}`, "-c", DUMP, `/out/${commands.length}`];
  commands.push({ name: `program ${name}`, argv, prefixes, expected: argv });
}
commands.push({
  name: "program by name",
  argv: ["sh", "-c", DUMP, `/out/${commands.length}`],
  prefixes: [],
  expected: ["sh", "-c", DUMP, `/out/${commands.length}`],
});

/** An environment can't hold noncharacters: systemd refuses them. */
const VALUES = [
  ...HOSTILE.filter((word) => !/\p{Noncharacter_Code_Point}/u.test(word)),
  ...randomWords(
    2000,
    300,
    ALPHABET.filter((c) => c !== "\ufffe"),
  ),
];
const VARIABLES = VALUES.map((value, i): [string, string] => [`V${i}`, value]);

/** Lists have no escapes: neither backslash nor control characters, and one kind of quotes a word. */
const LIST_WORDS = randomWords(3000, 200, [...'%$%;#=[]{}-: "aé😀'])
  .concat(randomWords(3001, 200, [..."%$%;#=[]{}-: 'aé😀"]))
  .filter((word) => word !== "");
const UNSET = LIST_WORDS.map((word, i): [string, string] => [`U${i}`, word]);

const DIRECTORY = `/dir/ %n $HOME "a' ;#\\x41\\n é`;
const HIDDEN = ['/hidden/a b "c"', "/hidden/%n $x", "/hidden/it's"];

/** A unit name from text, which the target below must find again. */
const ESCAPED = `${escapeName("a/b -\\x%n é\n")}.service`;

const oneshot = (options: UnitOption[]): string =>
  writeUnit([["Unit", "DefaultDependencies", "no"], ["Service", "Type", "oneshot"], ...options]);

const dumpTo = (file: string) => execLine([SHELL, "-c", DUMP, `/out/${file}`]);

const commandsService = (list: readonly Command[]): string =>
  oneshot(list.map((c) => ["Service", "ExecStart", execLine(c.argv, { prefixes: c.prefixes })]));

const UNITS: Record<string, string> = {
  "commands.service": commandsService(commands),
  "environment.service": oneshot([
    ["Service", "Environment", environment(VARIABLES)],
    ["Service", "Environment", specifierEscape("RAW=%n%%")],
    ["Service", "ExecStart", dumpTo("environment")],
  ]),
  "words.service": oneshot([
    ["Service", "Environment", environment(UNSET)],
    ["Service", "Environment", environment([["LAST", "kept"]])],
    ["Service", "UnsetEnvironment", words(UNSET.map(([name, value]) => `${name}=${value}`))],
    ["Service", "ExecStart", dumpTo("words")],
  ]),
  "path.service": oneshot([
    ["Service", "WorkingDirectory", path(DIRECTORY)],
    ["Service", "InaccessiblePaths", words(HIDDEN)],
    ["Service", "ExecStart", execLine([SHELL, "-c", `${DUMP}; stat -c %a /hidden/* >"$0.modes"`, "/out/path"])],
  ]),
  [ESCAPED]: oneshot([["Service", "ExecStart", dumpTo("escaped")]]),
};
UNITS["last.service"] = writeUnit([
  ["Unit", "DefaultDependencies", "no"],
  ["Unit", "After", unitNames(Object.keys(UNITS))],
  ["Unit", "SuccessAction", "exit-force"],
  ["Service", "Type", "oneshot"],
  ["Service", "ExecStart", execLine(["/bin/true"])],
]);
UNITS["all.target"] = writeUnit([
  ["Unit", "DefaultDependencies", "no"],
  ["Unit", "Wants", unitNames(Object.keys(UNITS))],
]);

const CGROUPS = ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"];

/**
 * nspawn on a /run of its own (it insists on a tmpfs there), and in cgroups of
 * its own ($1), or it would share those of other containers.
 */
const NSPAWN = `
  name=$1; shift
  mount -t tmpfs run /run
  for dir in ${CGROUPS.join(" ")}; do
    if [ -e $dir/cgroup.procs ] && mkdir $dir/$name; then echo $$ >$dir/$name/cgroup.procs; fi
  done
  exec systemd-nspawn "$@"`;

const whyNot =
  process.getuid?.() !== 0
    ? "needs root"
    : !existsSync("/usr/bin/systemd-nspawn")
      ? "needs systemd-nspawn (Debian package systemd-container)"
      : false;

let root = "";
/** What a command wrote; "" when it never ran: systemd refused its line. */
const output = (file: string): Buffer => {
  const name = join(root, "out", file);
  return existsSync(name) ? readFileSync(name) : Buffer.alloc(0);
};
const nulTerminated = (list: readonly string[]): Buffer => Buffer.from(list.map((word) => `${word}\0`).join(""));

before(() => {
  if (whyNot !== false) return;
  root = mkdtempSync(join(tmpdir(), "unit-writer-"));
  for (const dir of ["usr", "etc/systemd/system", "out", "proc", "sys", "dev", "run", "tmp", "programs", DIRECTORY])
    mkdirSync(join(root, dir), { recursive: true });
  for (const dir of HIDDEN) mkdirSync(join(root, dir), { recursive: true });
  for (const link of ["bin", "sbin", "lib", "lib64"]) symlinkSync(`usr/${link}`, join(root, link));
  for (const { name } of PROGRAMS) symlinkSync(SHELL, join(root, "programs", name));
  writeFileSync(join(root, "etc/os-release"), "ID=test\n");
  for (const [name, text] of Object.entries(UNITS)) writeFileSync(join(root, "etc/systemd/system", name), text);

  const options = ["--boot", "--register=no", "--keep-unit", "--settings=no", "--link-journal=no", "--resolv-conf=off"];
  const own = ["--timezone=off", "--console=pipe", `--directory=${root}`, "--bind-ro=/usr"];
  const init = ["--unit=all.target", "--log-target=console", "--show-status=0"];
  const cgroup = basename(root);
  // Not a pipe: it would stay open for as long as anything in the container lives.
  const log = openSync(join(root, "log"), "w");
  const run = spawnSync(
    "unshare",
    ["--mount", SHELL, "-c", NSPAWN, "sh", cgroup, "--quiet", ...options, ...own, "--", ...init],
    { stdio: ["ignore", log, log], timeout: 60_000, killSignal: "SIGKILL" },
  );
  closeSync(log);
  for (const dir of CGROUPS)
    spawnSync("find", [join(dir, cgroup), "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"]);
  assert.equal(run.status, 0, `nspawn: ${run.error?.message ?? ""}\n${readFileSync(join(root, "log"), "utf8")}`);
});

test.after(() => {
  if (root !== "") rmSync(root, { recursive: true, force: true });
});

const booted = (name: string, body: (t: TestContext) => void): void => {
  test(name, { skip: whyNot }, body);
};

for (const [i, c] of commands.entries())
  booted(`execve gets every byte: ${c.name}`, () => {
    // Word by word, so that a failure shows the word; then all of it.
    const got = output(String(i)).toString().split("\0");
    for (const [at, word] of c.expected.entries()) assert.equal(got[at], word, `word ${at + 1}`);
    assert.ok(output(String(i)).equals(nulTerminated(c.expected)));
  });

/** Assignments by name, from an environment block. */
function assignments(block: Buffer): Map<string, string> {
  const entries = block.toString().split("\0").slice(0, -1);
  return new Map(entries.map((entry) => [entry.slice(0, entry.indexOf("=")), entry.slice(entry.indexOf("=") + 1)]));
}

booted("Environment= gives every byte", () => {
  const got = assignments(output("environment.env"));
  for (const [name, value] of VARIABLES) assert.equal(got.get(name), value, name);
});

booted("specifierEscape: the text is taken literally", () => {
  assert.equal(assignments(output("environment.env")).get("RAW"), "%n%%");
});

booted("words: UnsetEnvironment= finds every assignment", () => {
  const got = assignments(output("words.env"));
  assert.equal(got.get("LAST"), "kept");
  assert.deepEqual(
    [...got.keys()].filter((name) => name.startsWith("U")),
    [],
  );
});

booted("path: WorkingDirectory= is the directory", () => {
  assert.equal(output("path.cwd").toString(), DIRECTORY);
});

booted("words: InaccessiblePaths= hides every path", () => {
  assert.equal(output("path.modes").toString(), "0\n".repeat(HIDDEN.length));
});

booted("escapeName: a unit of that name is found by unitNames", () => {
  assert.ok(output("escaped").length > 0);
});

test("systemd-analyze verify has nothing to say", () => {
  const dir = mkdtempSync(join(tmpdir(), "unit-writer-"));
  try {
    // Programs that exist only in the container would be its one complaint.
    const here = commands.filter((c) => !c.argv[0]?.startsWith("/programs/"));
    const units = { ...UNITS, "commands.service": commandsService(here) };
    for (const [name, text] of Object.entries(units)) writeFileSync(join(dir, name), text);
    const run = spawnSync("systemd-analyze", ["verify", "--man=no", join(dir, "all.target")], {
      encoding: "utf8",
      env: { ...process.env, SYSTEMD_UNIT_PATH: `${dir}:` },
    });
    assert.deepEqual({ status: run.status, said: run.stderr }, { status: 0, said: "" });
  } finally {
    rmSync(dir, { recursive: true });
  }
});
