/**
 * Checks the project's own rules for its source, each with its reason: which files may import which, and which names
 * and calls may be in one place only. A program, `check.ts [DIRECTORY]`; part of `npm run check`.
 *
 * Rules about code work on TypeScript's syntax trees, for the files that tsconfig.json names. Rules about text work
 * line by line, for the files that git would commit.
 */

import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { dirname, join, posix, relative, resolve } from "node:path";
import { type Node, type SourceFile, SyntaxKind } from "typescript/unstable/ast";
import {
  isCallExpression,
  isElementAccessExpression,
  isExportDeclaration,
  isExternalModuleReference,
  isIdentifier,
  isImportClause,
  isImportDeclaration,
  isImportSpecifier,
  isImportTypeNode,
  isLiteralTypeNode,
  isNamespaceImport,
  isNoSubstitutionTemplateLiteral,
  isPropertyAccessExpression,
  isRegularExpressionLiteral,
  isStringLiteral,
  isTemplateHead,
  isTemplateMiddle,
  isTemplateTail,
  isVariableDeclaration,
} from "typescript/unstable/ast/is";
import { API } from "typescript/unstable/sync";
import { errorCode, RktError } from "../shared/errors.ts";
import { ENTRYPOINTS, LATER_ENTRYPOINTS } from "../shared/contract/annotations.ts";
import { LOCAL_CONFIG_DIR, SYSTEM_CONFIG_DIR } from "../shared/contract/configuration.ts";
import { containerLayout } from "../shared/contract/container-directory.ts";
import { DEFAULT_DATA_DIR } from "../shared/contract/data-directory.ts";
import { ENV_PREFIX } from "../shared/contract/environment.ts";
import { STAGE1 } from "../shared/contract/stage1-root.ts";
import { ALIVE_UNIT, APP_UNIT } from "../shared/contract/units.ts";
import { ROOT } from "./paths.ts";
import { program } from "./program.ts";

export interface Violation {
  /** Relative to the project. */
  file: string;
  line: number;
  rule: string;
  reason: string;
}

const STAGES = ["stage0", "stage1", "stage2"];
const UNIT_WRITER = "shared/systemd-unit-writer";
/** The fuzzer, which imports the readers of all stages. */
const FUZZ = "test/fuzz";

/** The part of the project that a file belongs to: its top-level directory, or a package inside. */
function owner(file: string): string {
  if (file.startsWith(`${UNIT_WRITER}/`)) return UNIT_WRITER;
  if (file.startsWith(`${FUZZ}/`)) return FUZZ;
  return file.split("/", 1)[0] ?? "";
}

const isTest = (file: string): boolean => file.endsWith(".test.ts") || owner(file).startsWith("test");
const isStage = (file: string): boolean => STAGES.includes(owner(file));
/** Whether a file is part of an executable. */
const isProduct = (file: string): boolean => !isTest(file) && (isStage(file) || owner(file).startsWith("shared"));
/** The files that render and set the exit status. */
const isMain = (file: string): boolean => STAGES.some((stage) => file === `${stage}/main.ts`);

// --- imports ------------------------------------------------------------------

interface Import {
  /** As written; undefined when it is computed. */
  specifier: string | undefined;
  /** "type" is erased, "static" is loaded with the module, "dynamic" when it is called. */
  kind: "type" | "static" | "dynamic";
  node: Node;
}

const LOADERS = ["require", "getBuiltinModule", "createRequire"];

function importOf(node: Node): Import | undefined {
  const literal = (at: Node | undefined) => (at !== undefined && isText(at) ? at.text : undefined);
  if (isImportDeclaration(node)) {
    const erased = node.importClause?.phaseModifier === SyntaxKind.TypeKeyword;
    return { specifier: literal(node.moduleSpecifier), kind: erased ? "type" : "static", node };
  }
  if (isExportDeclaration(node) && node.moduleSpecifier !== undefined)
    return { specifier: literal(node.moduleSpecifier), kind: node.isTypeOnly ? "type" : "static", node };
  if (isExternalModuleReference(node)) return { specifier: literal(node.expression), kind: "static", node };
  if (isImportTypeNode(node)) {
    const argument = isLiteralTypeNode(node.argument) ? node.argument.literal : undefined;
    return { specifier: literal(argument), kind: "type", node };
  }
  if (!isCallExpression(node)) return undefined;
  const callee = isPropertyAccessExpression(node.expression) ? node.expression.name : node.expression;
  const loads = callee.kind === SyntaxKind.ImportKeyword || (isIdentifier(callee) && LOADERS.includes(callee.text));
  return loads ? { specifier: literal(node.arguments[0]), kind: "dynamic", node } : undefined;
}

/** Which parts of the project may import which. A file may always import from its own part. */
const DIRECTION: Readonly<Record<string, { from: string[]; inTests: string[]; reason: string }>> = {
  ...Object.fromEntries(
    STAGES.map((stage) => [
      stage,
      {
        from: ["shared"],
        inTests: ["test", "build"],
        reason: "a stage imports shared/ and itself: what else it needs of another stage is on disk",
      },
    ]),
  ),
  shared: { from: [], inTests: ["test", "build"], reason: "shared/ imports no stage: every stage carries it" },
  [UNIT_WRITER]: { from: [], inTests: [], reason: "systemd-unit-writer is a package of its own, without dependencies" },
  build: { from: ["shared"], inTests: ["test"], reason: "the build makes the stages and runs without them" },
  examples: { from: ["shared", "build"], inTests: ["test"], reason: "examples are made by the build, not by a stage" },
  [FUZZ]: {
    from: ["shared", "test", ...STAGES],
    inTests: [],
    reason: "fuzzing is of what the executables are made of",
  },
  test: { from: ["shared", "build"], inTests: [], reason: "functional tests run the executables, as a user does" },
};

/**
 * The folders of stage 0, from the command line down to the host: a file imports from its own folder and from those
 * after it.
 */
const FOLDERS: readonly (readonly [folder: string, reason: string])[] = [
  ["", "main.ts and the table of commands are what the executable begins with"],
  ["commands", "a command is called by the command line, and by nobody else"],
  ["request", "a request becomes a container, and the lower folders do not know of requests"],
  ["metadata", "the metadata service reads containers and images; these do not know of the service"],
  ["container", "a container uses images; images do not know of containers"],
  ["fetch", "the keystore and the store do not know where an image comes from"],
  ["trust", "the store does not know of signatures: it keeps what was verified"],
  ["store", "the store reads archives; an archive does not know where it is kept"],
  ["oci", "the reading of OCI documents and references depends on no use of them"],
  ["archive", "the reading of archives depends on no use of them"],
  ["cli", "the words of a command line are read in one way for all commands"],
  ["config", "the reading of configuration depends on no use of it"],
  ["terminal", "the terminal does not know what is printed"],
  ["host", "the host's own files and programs are the lowest folder"],
];

function folderBroken(file: string, target: string): string | undefined {
  const rank = (path: string) => {
    const [stage, ...parts] = path.split("/");
    return stage === "stage0" ? FOLDERS.findIndex(([folder]) => folder === parts.slice(0, -1).join("/")) : undefined;
  };
  const [from, to] = [rank(file), rank(target)];
  if (from === undefined || to === undefined || isTest(file)) return undefined;
  if (from < 0) return `${posix.dirname(file)} is no folder of stage 0 that build/check.ts knows`;
  if (to < 0 || to >= from) return undefined;
  return `imports ${target}: ${FOLDERS[to]?.[1]}`;
}

function directionBroken(file: string, target: string): string | undefined {
  const side = owner(file);
  const other = owner(target);
  const allowed = DIRECTION[side];
  // package.json holds the version, which every part may print.
  if (side === other || allowed === undefined || target === "package.json") return undefined;
  if (other === UNIT_WRITER) return `imports ${target}: systemd-unit-writer is imported by that name`;
  if (allowed.from.includes(other) || (isTest(file) && allowed.inTests.includes(other))) return undefined;
  return `imports ${target}: ${allowed.reason}`;
}

interface PackageJson {
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
}

/** The package a specifier names: `@scope/name/file` → `@scope/name`. */
const packageOf = (specifier: string): string => specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");

function packageBroken(file: string, name: string, packages: PackageJson): string | undefined {
  if (owner(file) === UNIT_WRITER) return `imports ${name}: systemd-unit-writer has no dependencies`;
  if (Object.hasOwn(packages.dependencies ?? {}, name)) return undefined;
  if (isProduct(file)) return `imports ${name}: only package.json's "dependencies" are part of an executable`;
  if (Object.hasOwn(packages.devDependencies ?? {}, name)) return undefined;
  return `imports ${name}: not in package.json, so it may vanish with another package`;
}

function* checkImport(file: string, found: Import, packages: PackageJson): Generator<[rule: string, reason: string]> {
  const { specifier, kind } = found;
  if (kind === "dynamic" && isProduct(file) && owner(file) === "stage2")
    yield ["no-late-import", "stage 2 loads everything before it changes root: afterwards the path names another file"];
  if (specifier === undefined) {
    if (isProduct(file)) yield ["computed-import", "nobody can see what it imports: name the module"];
    return;
  }
  if (specifier.startsWith(".")) {
    const target = posix.join(posix.dirname(file), specifier);
    const reason = directionBroken(file, target) ?? folderBroken(file, target);
    if (reason !== undefined) yield ["direction", reason];
  } else if (isBuiltin(specifier) || specifier === "bun:ffi") {
    if (specifier.endsWith(":ffi") && !file.startsWith("shared/syscall/"))
      yield [
        "ffi",
        "system calls are in shared/syscall/ only: one place to audit, one interface to record in tests",
      ];
  } else {
    const reason = packageBroken(file, packageOf(specifier), packages);
    if (reason !== undefined) yield ["package", reason];
  }
}

// --- imports that are loaded at every start -------------------------------------------

/** Whether an import is slow to load: packages, except our own, and node:sqlite, which loads a library. */
const isExpensive = (specifier: string): boolean =>
  specifier === "node:sqlite" || (!isBuiltin(specifier) && packageOf(specifier) !== "systemd-unit-writer");

/** Follows the static imports of an executable, and reports expensive ones. */
function* eagerPackages(main: string, files: ReadonlyMap<string, Source>): Generator<Violation> {
  const seen = new Set([main]);
  // The set grows while it is walked.
  for (const file of seen) {
    const source = files.get(file);
    if (source === undefined) continue;
    for (const { specifier, kind, node } of source.imports) {
      if (kind !== "static" || specifier === undefined) continue;
      if (specifier.startsWith(".")) seen.add(posix.join(posix.dirname(file), specifier));
      else if (isExpensive(specifier)) {
        const reason = `every start of ${main} would load ${specifier}: import() it where it is used`;
        yield { file, line: source.lineOf(node), rule: "eager-import", reason };
      }
    }
  }
}

// --- circles ------------------------------------------------------------------------

/**
 * Reports files that import each other in a circle, also by types: none of them can be understood without all others.
 * There is one violation for each import that leads back to a file of the current path.
 */
function* circles(sources: ReadonlyMap<string, Source>): Generator<Violation> {
  const done = new Set<string>();
  const path: string[] = [];
  function* visit(file: string): Generator<Violation> {
    path.push(file);
    const source = sources.get(file);
    for (const { specifier, node } of source?.imports ?? []) {
      if (source === undefined || specifier?.startsWith(".") !== true) continue;
      const target = posix.join(posix.dirname(file), specifier);
      const since = path.indexOf(target);
      if (since >= 0) {
        const circle = [...path.slice(since), target].join(" → ");
        yield { file, line: source.lineOf(node), rule: "circle", reason: `${circle}: cut what both need out of one` };
      } else if (!done.has(target)) yield* visit(target);
    }
    path.pop();
    done.add(file);
  }
  for (const file of sources.keys()) if (!done.has(file)) yield* visit(file);
}

// --- bans -------------------------------------------------------------------------

interface Ban {
  rule: string;
  reason: string;
  applies(file: string): boolean;
  hit(node: Node): boolean;
}

/**
 * Finds `process.NAME` in all its spellings: `process?.NAME`, `process["NAME"]`, `import { NAME } from "node:process"`.
 */
function usesProcess(node: Node, names: readonly string[]): boolean {
  const name = isImportSpecifier(node)
    ? isProcess(node.parent.parent.parent) && (node.propertyName ?? node.name)
    : isPropertyAccessExpression(node)
      ? isProcess(node.expression) && node.name
      : isElementAccessExpression(node) && isProcess(node.expression) && node.argumentExpression;
  return name !== false && (isIdentifier(name) || isText(name)) && names.includes(name.text);
}

/** Whether a node is the global `process`, or an import of its module. */
function isProcess(node: Node): boolean {
  return isIdentifier(node)
    ? node.text === "process"
    : isImportDeclaration(node) && /^(?:node:)?process$/.test(importOf(node)?.specifier ?? "");
}

/** Whether a node gives the object another name. */
function renamesProcess(node: Node): boolean {
  if (isVariableDeclaration(node)) return node.initializer !== undefined && isProcess(node.initializer);
  if (isNamespaceImport(node)) return isProcess(node.parent.parent);
  return isImportClause(node) && node.name !== undefined && node.name.text !== "process" && isProcess(node.parent);
}

function isText(node: Node): node is Node & { text: string } {
  return isStringLiteral(node) || isNoSubstitutionTemplateLiteral(node);
}

/** The text of a literal or of a template's piece. */
function textOf(node: Node): string | undefined {
  if (isText(node) || isTemplateHead(node) || isTemplateMiddle(node) || isTemplateTail(node)) return node.text;
  return isRegularExpressionLiteral(node) ? node.text.replaceAll("\\", "") : undefined;
}

const quoteRegExp = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** Names that only shared/contract/ may spell. Paths match with or without the leading slash. */
const LAYOUT_NAMES = new RegExp(
  `(?<![\\w.-])(?:${[
    // "/rkt" alone is a common name: here it needs its slashes.
    quoteRegExp(`${STAGE1.base}/`),
    ...[DEFAULT_DATA_DIR, LOCAL_CONFIG_DIR, SYSTEM_CONFIG_DIR, dirname(STAGE1.app(""))].map(
      (path) => `/?${quoteRegExp(path.slice(1))}(?![\\w.-])`,
    ),
    `${quoteRegExp(dirname(dirname(ENTRYPOINTS.init)))}/`,
    `${quoteRegExp(dirname(LATER_ENTRYPOINTS.init))}/`,
    `${ENV_PREFIX}[A-Z]`,
  ].join("|")})`,
);

const LAYOUT_REASON = "paths, variables and annotations of the layout are spelled in shared/contract/ only";

const BANS: readonly Ban[] = [
  {
    rule: "execve",
    reason: "a stage is left through shared/exec.ts only, which says what is inherited",
    applies: (file) => isProduct(file) && file !== "shared/exec.ts",
    hit: (node) => usesProcess(node, ["execve"]),
  },
  {
    rule: "environment",
    reason: "process.env is empty in an executable of ours: shared/callers-environment.ts reads what the caller gave it",
    applies: (file) => isProduct(file) && file !== "shared/callers-environment.ts" && owner(file) !== UNIT_WRITER,
    hit: (node) => usesProcess(node, ["env"]),
  },
  {
    rule: "process-alias",
    reason: "process is called by that name, so that what is done with it can be found and checked",
    applies: isProduct,
    hit: renamesProcess,
  },
  {
    rule: "layout-name",
    reason: LAYOUT_REASON,
    applies: (file) => !isTest(file) && !file.startsWith("shared/contract/"),
    hit: (node) => LAYOUT_NAMES.test(textOf(node) ?? ""),
  },
  {
    rule: "console",
    reason: "only main.ts renders: stdout is data, stderr is talk, and both are made safe for a terminal there",
    applies: (file) => isProduct(file) && file !== "stage0/main.ts",
    hit: (node) =>
      isIdentifier(node) &&
      node.text === "console" &&
      isPropertyAccessExpression(node.parent) &&
      node.parent.expression === node,
  },
  {
    rule: "exit-status",
    reason: "only main.ts ends the process: throw an RktError, so that cleanup runs and the failure has a message",
    applies: (file) => isProduct(file) && !isMain(file),
    hit: (node) => usesProcess(node, ["exit", "exitCode", "abort"]),
  },
];

// --- scripts ----------------------------------------------------------------------

/**
 * The files of our stage1 images. Those of the examples are left out: they show the names to authors of a stage1, and
 * their build has no placeholders.
 */
const STAGE1_FILE = /^stage1\/[^/]+\/rootfs\//;

/** Names for which scripts must use placeholders; in comments, too, because these are part of the image. */
const SCRIPT_LAYOUT = new RegExp(
  [
    // Also below the root as the host sees it, or below a directory that a variable holds.
    `${quoteRegExp(STAGE1.base)}(?=[/"'\\s]|$)`,
    `${quoteRegExp(STAGE1.library.slice(STAGE1.programs.length))}/`,
    `${quoteRegExp(containerLayout("").stage1Rootfs.slice(1))}(?![\\w-])`,
    quoteRegExp(STAGE1.exitStatus),
    `${ENV_PREFIX}[A-Z]`,
    `(?<![\\w-])${quoteRegExp(APP_UNIT.prefix)}(?:[^\\s/]*${quoteRegExp(APP_UNIT.suffix)}|[$*]|\\})`,
    quoteRegExp(ALIVE_UNIT),
  ].join("|"),
);

function* checkScripts(root: string): Generator<Violation> {
  for (const file of textFiles(root)) {
    if (!STAGE1_FILE.test(file) || !lstatSync(join(root, file)).isFile()) continue;
    const text = readFileSync(join(root, file)).toString("latin1");
    if (text.includes("\0")) continue;
    for (const [i, line] of text.split("\n").entries())
      if (SCRIPT_LAYOUT.test(line))
        yield {
          file,
          line: i + 1,
          rule: "layout-name",
          reason: `${LAYOUT_REASON}: scripts have placeholders (build/script-names.ts)`,
        };
  }
}

// --- text -------------------------------------------------------------------------

interface TextBan {
  rule: string;
  reason: string;
  pattern: RegExp;
}

const TEXT_BANS: readonly TextBan[] = [
  {
    rule: "machine-path",
    reason: "a path of one developer's machine: nobody else has it",
    // A home directory itself may be a fixture's, in a passwd line.
    pattern: /(?<![\w.~$})>*-])\/(?:(?:work|root)|home\/[\w.-]+)\/[\w.-]/,
  },
  {
    rule: "registry-host",
    reason: "which registry packages come from is the installing machine's choice (npm config)",
    // Reserved names (RFC 2606) are allowed.
    pattern: /\bregistry\.(?!example\b)[a-z0-9-]+\.[a-z]{2,}\b|"resolved": "https?:/,
  },
];

/** The files that git tracks or would add. */
function textFiles(root: string): string[] {
  // The checkout may belong to another user than root, who runs the tests.
  const options = ["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  try {
    const list = execFileSync("git", options, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
    return [...new Set(list.split("\0"))].filter((file) => file !== "" && existsSync(join(root, file)));
  } catch (error) {
    if (errorCode(error) === "ENOENT") throw new RktError("no-git", "git is not installed", { cause: error });
    throw new RktError("no-git", `${root} is no git checkout`, { cause: error });
  }
}

function* checkText(root: string): Generator<Violation> {
  for (const file of textFiles(root)) {
    const text = readFileSync(join(root, file)).toString("latin1");
    if (text.includes("\0")) continue;
    for (const [i, line] of text.split("\n").entries())
      for (const { rule, reason, pattern } of TEXT_BANS)
        if (pattern.test(line)) yield { file, line: i + 1, rule, reason };
  }
}

// --- all of it --------------------------------------------------------------------

interface Source {
  tree: SourceFile;
  imports: Import[];
  lineOf(node: Node): number;
}

function* nodes(node: Node): Generator<Node> {
  yield node;
  const children: Node[] = [];
  node.forEachChild((child) => {
    children.push(child);
  });
  for (const child of children) yield* nodes(child);
}

/** Every source file of the project, by its path relative to `root`. */
function readSources(root: string, api: API): Map<string, Source> {
  const config = join(root, "tsconfig.json");
  const project = api.updateSnapshot({ openProjects: [config] }).getProject(config);
  if (project === undefined) throw new RktError("no-project", `TypeScript finds no project in ${config}`);
  const sources = new Map<string, Source>();
  for (const path of project.rootFiles) {
    const tree = project.program.getSourceFile(path);
    if (tree === undefined) throw new Error(`no syntax tree of ${path}`);
    const lineOf = (node: Node) => tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1;
    const imports = [...nodes(tree)].map(importOf).filter((found) => found !== undefined);
    sources.set(relative(root, path), { tree, imports, lineOf });
  }
  return sources;
}

function* checkSources(sources: ReadonlyMap<string, Source>, packages: PackageJson): Generator<Violation> {
  for (const [file, source] of sources) {
    for (const found of source.imports)
      for (const [rule, reason] of checkImport(file, found, packages))
        yield { file, line: source.lineOf(found.node), rule, reason };
    const bans = BANS.filter((ban) => ban.applies(file));
    for (const node of nodes(source.tree))
      for (const { rule, reason, hit } of bans) if (hit(node)) yield { file, line: source.lineOf(node), rule, reason };
  }
  for (const stage of STAGES) yield* eagerPackages(`${stage}/main.ts`, sources);
  yield* circles(sources);
}

/** All violations in the project at `root`, sorted by file and line. */
export function check(root: string): Violation[] {
  const packages: PackageJson = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const api = new API({ cwd: root });
  try {
    const violations = [...checkSources(readSources(root, api), packages), ...checkScripts(root), ...checkText(root)];
    return violations.sort((a, b) => (a.file === b.file ? a.line - b.line : a.file < b.file ? -1 : 1));
  } finally {
    api.close();
  }
}

export const format = ({ file, line, rule, reason }: Violation): string => `${file}:${line}: ${rule}: ${reason}`;

if (import.meta.main)
  await program("check", async () => {
    const violations = check(resolve(process.argv[2] ?? ROOT));
    for (const violation of violations) process.stdout.write(`${format(violation)}\n`);
    if (violations.length > 0) process.exitCode = 1;
  });
