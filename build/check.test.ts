import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { check, format } from "./check.ts";

const PROJECT = {
  "tsconfig.json": JSON.stringify({
    compilerOptions: { module: "nodenext", allowImportingTsExtensions: true, noEmit: true, types: [] },
    include: ["stage0", "stage1", "stage2", "shared", "build", "test", "examples"],
  }),
  "package.json": JSON.stringify({
    dependencies: { tar: "1.0.0", "@scope/fast": "1.0.0", "systemd-unit-writer": "1.0.0" },
    devDependencies: { esbuild: "1.0.0" },
  }),
  ".gitignore": "dist/\n",
  "shared/a.ts": "export const a = 1;\n",
};

/** A project of these files, for as long as the test runs. */
function project(t: TestContext, files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), "check-"));
  t.after(() => rmSync(root, { recursive: true }));
  for (const [name, text] of Object.entries({ ...PROJECT, ...files })) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  execFileSync("git", ["init", "-q"], { cwd: root });
  return root;
}

/** Not written out, or this file would break the rules it tests. */
const MACHINE = `${"/ho"}me/somebody/rkt`;
const REGISTRY = `registry${"."}npmjs.org`;

const STAGE = "a stage imports shared/ and itself: what else it needs of another stage is on disk";
const SHARED = "shared/ imports no stage: every stage carries it";
const LAYOUT = "paths, variables and annotations of the layout are spelled in shared/contract/ only";
const SCRIPTS = "scripts have placeholders (build/script-names.ts)";
const EXECVE = "a stage is left through shared/exec.ts only, which says what is inherited";
const EXIT = "only main.ts ends the process: throw an RktError, so that cleanup runs and the failure has a message";
const ENVIRONMENT =
  "process.env is empty in an executable of ours: shared/callers-environment.ts reads what the caller gave it";
const FFI = "system calls are in shared/syscall/ only: one place to audit, one interface to record in tests";
const ALIAS = "process is called by that name, so that what is done with it can be found and checked";
const CONSOLE = "only main.ts renders: stdout is data, stderr is talk, and both are made safe for a terminal there";
const LATE = "stage 2 loads everything before it changes root: afterwards the path names another file";

const cases: { name: string; files: Record<string, string>; expected: string[] }[] = [
  {
    name: "what is allowed",
    files: {
      "stage0/main.ts": `
        import { readFileSync } from "node:fs";
        import { a } from "../shared/a.ts";
        import { b } from "./b.ts";
        import { version } from "../package.json" with { type: "json" };
        console.error(a, b, version, readFileSync);
        process.exitCode = 2;`,
      "stage0/b.ts": `
        export const b = () => import("tar");
        export type Fast = import("@scope/fast/types").Fast;
        // process.execve, node:ffi and /var/lib/rkt in a comment
        export const url = "https://github.com/rkt/rkt/";`,
      "stage0/b.test.ts": `
        import { a } from "../test/helpers/a.ts";
        import "esbuild";
        console.log(a, "/var/lib/rkt"); process.exit(1);`,
      "shared/exec.ts": `process.execve?.("/a");`,
      "shared/contract/paths.ts": `export const DATA = "/var/lib/rkt";`,
      "shared/syscall/linux.ts": `process.getBuiltinModule("node:ffi");`,
      "shared/systemd-unit-writer/src/index.ts": `import "./b.ts";`,
      "shared/systemd-unit-writer/src/b.ts": "export {};",
      "stage1/units/units.ts": `import "systemd-unit-writer";`,
      "build/build.ts": `import "../shared/a.ts"; import "esbuild"; console.log(process.argv); process.exit();`,
      "test/fuzz/a.ts": `import "../../stage1/main.ts"; import "../helpers/a.ts";`,
      "test/helpers/a.ts": `export { a } from "../../shared/a.ts"; import "../../build/build.ts";`,
      "examples/etcd.ts": `import "../build/build.ts";`,
      "dist/bundle.txt": MACHINE,
    },
    expected: [],
  },
  {
    name: "direction: every form of import",
    files: {
      "stage0/a.ts": "export type A = 1; export const a = 1;",
      "stage1/a.ts": [
        'import { a } from "../stage0/a.ts";',
        'import type { A } from "../stage0/a.ts";',
        'export * from "../stage0/a.ts";',
        'export type { A as B } from "../stage0/a.ts";',
        'export type C = import("../stage0/a.ts").A;',
        'void import("../stage0/a.ts"); void import(`../stage0/a.ts`);',
        'import "../stage0/a.ts";',
      ].join("\n"),
    },
    expected: [1, 2, 3, 4, 5, 6, 6, 7].map((line) => `stage1/a.ts:${line}: direction: imports stage0/a.ts: ${STAGE}`),
  },
  {
    name: "direction: every side",
    files: {
      "stage2/a.ts": 'import "../stage1/a.ts"; import "../build/a.ts";',
      "stage2/a.test.ts": 'import "../stage0/a.ts";',
      "shared/b.ts": 'import "../stage0/a.ts"; import "../test/a.ts";',
      "build/a.ts": 'import "../stage1/a.ts";',
      "test/a.test.ts": 'import "../stage0/a.ts";',
      "shared/systemd-unit-writer/src/index.ts": 'import "../../a.ts"; import "tar";',
      "shared/c.ts": 'import "./systemd-unit-writer/src/index.ts";',
    },
    expected: [
      "build/a.ts:1: direction: imports stage1/a.ts: the build makes the stages and runs without them",
      `shared/b.ts:1: direction: imports stage0/a.ts: ${SHARED}`,
      `shared/b.ts:1: direction: imports test/a.ts: ${SHARED}`,
      "shared/c.ts:1: direction: imports shared/systemd-unit-writer/src/index.ts: systemd-unit-writer is imported by that name",
      "shared/systemd-unit-writer/src/index.ts:1: direction: imports shared/a.ts: systemd-unit-writer is a package of its own, without dependencies",
      "shared/systemd-unit-writer/src/index.ts:1: package: imports tar: systemd-unit-writer has no dependencies",
      `stage2/a.test.ts:1: direction: imports stage0/a.ts: ${STAGE}`,
      `stage2/a.ts:1: direction: imports stage1/a.ts: ${STAGE}`,
      `stage2/a.ts:1: direction: imports build/a.ts: ${STAGE}`,
      "test/a.test.ts:1: direction: imports stage0/a.ts: functional tests run the executables, as a user does",
    ],
  },
  {
    name: "package: undeclared, or for development only",
    files: {
      "stage0/a.ts": 'void import("esbuild"); import type {} from "lodash";',
      "build/a.ts": 'import "lodash"; import "@scope/slow/x";',
    },
    expected: [
      "build/a.ts:1: package: imports lodash: not in package.json, so it may vanish with another package",
      "build/a.ts:1: package: imports @scope/slow: not in package.json, so it may vanish with another package",
      'stage0/a.ts:1: package: imports esbuild: only package.json\'s "dependencies" are part of an executable',
      'stage0/a.ts:1: package: imports lodash: only package.json\'s "dependencies" are part of an executable',
    ],
  },
  {
    name: "computed-import",
    files: {
      "stage0/a.ts": "const m = process.argv[2] ?? '';\nvoid import(m);",
      "build/a.ts": "void import(process.title);",
    },
    expected: ["stage0/a.ts:2: computed-import: nobody can see what it imports: name the module"],
  },
  {
    name: "no-late-import: in stage 2",
    files: { "stage2/a.ts": 'void import("tar");', "stage2/a.test.ts": 'void import("tar");' },
    expected: [`stage2/a.ts:1: no-late-import: ${LATE}`],
  },
  {
    name: "eager-import: what an executable's start reaches, and only that",
    files: {
      "stage0/main.ts": 'import "./cli.ts"; import type {} from "tar"; import "systemd-unit-writer";',
      "stage0/cli.ts": 'import "../shared/b.ts";\nvoid import("./late.ts"); import type {} from "./types.ts";',
      "stage0/late.ts": 'import "tar";',
      "stage0/types.ts": 'import "tar";',
      "shared/b.ts": 'import "node:fs";\nimport { x } from "tar";\nexport * from "node:sqlite";',
    },
    expected: [
      "shared/b.ts:2: eager-import: every start of stage0/main.ts would load tar: import() it where it is used",
      "shared/b.ts:3: eager-import: every start of stage0/main.ts would load node:sqlite: import() it where it is used",
    ],
  },
  {
    name: "ffi",
    files: {
      "stage1/a.ts": 'import "node:ffi";',
      "stage0/a.ts": 'import "bun:ffi";',
      "shared/a.ts": 'import type {} from "node:ffi";\nprocess.getBuiltinModule("node:ffi");',
    },
    expected: [
      `shared/a.ts:1: ffi: ${FFI}`,
      `shared/a.ts:2: ffi: ${FFI}`,
      `stage0/a.ts:1: ffi: ${FFI}`,
      `stage1/a.ts:1: ffi: ${FFI}`,
    ],
  },
  {
    name: "execve, however it is spelled",
    files: {
      "stage0/a.ts": [
        'process.execve("/a");',
        'process?.execve?.("/a");',
        'process["execve"]("/a");',
        'import { execve as leave } from "node:process";',
      ].join("\n"),
      // Our own function, and somebody else's method.
      "stage0/b.ts": 'import { execve } from "../shared/exec.ts"; execve("/a"); test.execve();',
      "shared/exec.ts": "export function execve() {}",
    },
    expected: [1, 2, 3, 4].map((line) => `stage0/a.ts:${line}: execve: ${EXECVE}`),
  },
  {
    name: "process-alias",
    files: {
      "stage0/a.ts": [
        "const { execve } = process;",
        "const p = process;",
        'import * as q from "node:process";',
        'import r from "process";',
        'import process, { arch } from "node:process";',
      ].join("\n"),
    },
    expected: [1, 2, 3, 4].map((line) => `stage0/a.ts:${line}: process-alias: ${ALIAS}`),
  },
  {
    name: "layout-name: in strings, templates and regular expressions",
    files: {
      "stage1/a.ts": [
        'export const a = "/var/lib/rkt";',
        "export const b = `$".concat("{a}/opt/stage2/x`;"),
        'export const c = "coreos.com/rocket/x";',
        "export const d = /RKT_LOCK_FD=/;",
        'export const e = "--bind=/rkt/status";',
        'export const f = "usr/lib/rkt/node";',
        "export const g = /\\/etc\\/rkt\\/x/;",
        'export const i = "RKT_ENTER_FDS";',
        // None of the layout's.
        'export const h = ["dist/rkt", "rkt/a", "/var/lib/rkt-old", "xRKT_LOCK_FD", "github.com/rkt/x", "/srv/rkt/"];',
      ].join("\n"),
      "test/a.ts": 'export const a = "/var/lib/rkt";',
      "README.md": "/var/lib/rkt",
    },
    expected: [1, 2, 3, 4, 5, 6, 7, 8].map((line) => `stage1/a.ts:${line}: layout-name: ${LAYOUT}`),
  },
  {
    name: "layout-name: in the scripts of our stage1 images, comments and units included",
    files: {
      "stage1/nspawn/rootfs/usr/lib/rkt/bad": [
        "#!stage1/rootfs/usr/bin/busybox sh",
        "# see /usr/lib/rkt/record",
        "[ -e /rkt/status/x ] && cd /rkt",
        'echo "$usr/lib/rkt/$@"',
        'echo "$RKT_LOCK_FD"',
        "procs=/sys/fs/cgroup/system.slice/app-$app.service/cgroup.procs",
        "for unit in app-*.service; do",
        "  echo $".concat("{unit##*/app-}; done"),
        "echo 1 >/run/rkt-exit-status",
      ].join("\n"),
      "stage1/fly/rootfs/x.service": "[Unit]\nAfter=rkt-alive.target\n",
      "stage1/fly/rootfs/good": [
        "#!@HERE_ROOT@@BUSYBOX@ sh",
        '[ -e "@APP_STATUS:$app@" ] && exec @RECORD@ "$@"',
        '. "$rkt/@HOST_APP_NAME@" # rkt, the-app-x, app-dir, /srv/rkt-old; a/rkts; see shared/contract/',
      ].join("\n"),
      "stage1/fly/rootfs/binary": "\0/rkt/status",
      // For people who write a stage1 without our build.
      "examples/stage1/init": "cat /rkt/status; echo $RKT_LOCK_FD",
    },
    expected: [
      `stage1/fly/rootfs/x.service:2: layout-name: ${LAYOUT}: ${SCRIPTS}`,
      ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map(
        (line) => `stage1/nspawn/rootfs/usr/lib/rkt/bad:${line}: layout-name: ${LAYOUT}: ${SCRIPTS}`,
      ),
    ],
  },
  {
    name: "console and exit-status",
    files: {
      "stage1/main.ts": "console.log(1); process.exitCode = 1;",
      "shared/b.ts":
        "console.error(1);\nprocess.exit(1);\nprocess.exitCode = 1;\nprocess['abort']();\nconst o = { console: 1 }; o.console;",
    },
    expected: [
      `shared/b.ts:1: console: ${CONSOLE}`,
      ...[2, 3, 4].map((line) => `shared/b.ts:${line}: exit-status: ${EXIT}`),
      `stage1/main.ts:1: console: ${CONSOLE}`,
    ],
  },
  {
    name: "the environment of the process, which is empty",
    files: {
      "stage1/a.ts": 'process.env["A"];\nconst { env } = process;\nimport { env as e } from "node:process";',
      "shared/callers-environment.ts": "export const all = process.env;",
      "stage1/a.test.ts": "process.env;",
      "build/a.ts": "process.env;",
    },
    expected: [
      `stage1/a.ts:1: environment: ${ENVIRONMENT}`,
      `stage1/a.ts:2: process-alias: ${ALIAS}`,
      `stage1/a.ts:3: environment: ${ENVIRONMENT}`,
    ],
  },
  {
    name: "the folders of stage 0 are imported downwards only, and are known",
    files: {
      "stage0/main.ts": 'import("./commands/run.ts");',
      "stage0/commands/run.ts": 'import "../store/store.ts";',
      "stage0/store/store.ts": 'import "../archive/tar.ts";\nimport type { A } from "../fetch/fetch.ts";\nexport type B = A;',
      "stage0/archive/tar.ts": "export {};",
      "stage0/fetch/fetch.ts": "export type A = 1;",
      "stage0/fetch/fetch.test.ts": 'import "../commands/run.ts";',
      "stage0/shed/a.ts": 'import "../store/store.ts";',
    },
    expected: [
      "stage0/shed/a.ts:1: direction: stage0/shed is no folder of stage 0 that build/check.ts knows",
      "stage0/store/store.ts:2: direction: imports stage0/fetch/fetch.ts: the keystore and the store do not know where an image comes from",
    ],
  },
  {
    name: "circles of files, by types and late imports too",
    files: {
      "shared/b.ts": 'import type { C } from "./c.ts";\nexport type B = C;',
      "shared/c.ts": 'export type C = 1;\nexport const c = () => import("./d.ts");',
      "shared/d.ts": 'import "./a.ts";\nimport "./b.ts";',
      "stage1/a.ts": 'import "../shared/b.ts";',
    },
    expected: ["shared/d.ts:2: circle: shared/b.ts → shared/c.ts → shared/d.ts → shared/b.ts: cut what both need out of one"],
  },
  {
    name: "text: machine paths and registries, in any file git would take",
    files: {
      "docs/a.md": `see\n${MACHINE}\n`,
      "package-lock.json": `{\n  "resolved": "${"https"}://example.org/a.tgz",\n  "x": "${REGISTRY}"\n}`,
      "docs/fine.md":
        "lib/home/x, ~/home/x, $HOME/root/x, root:/root:/bin/sh, a:/home/a:/bin/sh, registry.example.com, the registry. Then",
      "docs/binary": `\0${MACHINE}`,
    },
    expected: [
      "docs/a.md:2: machine-path: a path of one developer's machine: nobody else has it",
      "package-lock.json:2: registry-host: which registry packages come from is the installing machine's choice (npm config)",
      "package-lock.json:3: registry-host: which registry packages come from is the installing machine's choice (npm config)",
    ],
  },
];

for (const c of cases)
  test(`check: ${c.name}`, (t) => {
    assert.deepEqual(check(project(t, c.files)).map(format), c.expected);
  });

test("check: the program prints each violation and fails; with none it says nothing", (t) => {
  const run = (files: Record<string, string>) =>
    spawnSync(process.execPath, [join(import.meta.dirname, "check.ts"), project(t, files)], { encoding: "utf8" });
  const bad = run({ "stage0/a.ts": "export const a = 1;\nconsole.log(a);\n" });
  // TypeScript's server, which shares stderr, may say this when it is closed while at work.
  const said = (stderr: string) => stderr.replace("context canceled\n", "");
  assert.deepEqual([bad.stdout, said(bad.stderr), bad.status], [`stage0/a.ts:2: console: ${CONSOLE}\n`, "", 1]);
  const good = run({});
  assert.deepEqual([good.stdout, said(good.stderr), good.status], ["", "", 0]);
});

test("check: a directory without git", (t) => {
  const root = project(t, {});
  rmSync(join(root, ".git"), { recursive: true });
  assert.throws(() => check(root), { code: "no-git", message: `${root} is no git checkout` });
});
