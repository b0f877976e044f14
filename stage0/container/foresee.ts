/**
 * What an app's rendered image shows before anything starts: that the app
 * certainly can't (its user, group, working directory or program is missing),
 * and what its volumes hide (ace.md, "Volume Setup").
 *
 * Nothing of the image is trusted: paths are resolved by the kernel inside the
 * root (openat2(2), RESOLVE_IN_ROOT), nothing but regular files is opened, and
 * little is read. What a mount or an event handler may still change is left to
 * the launcher, which looks again.
 */

import { closeSync, constants, fstatSync, lstatSync, opendirSync, openSync, readlinkSync, type Stats } from "node:fs";
import { posix } from "node:path";
import { accountText, badAccountFile, openAccountFile } from "../../shared/account-file.ts";
import { type AskedAccount, numericIds, resolveAccount } from "../../shared/accounts.ts";
import { errorCode, RktError } from "../../shared/errors.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { DEFAULT_PATH, notAProgram, programPaths } from "../../shared/program.ts";
import type { App, PodManifest, RuntimeApp } from "../../shared/schema/types.ts";
import { O_PATH, openat2, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS } from "../../shared/syscall/file.ts";
import { nestedMounts } from "./nested-mounts.ts";

/** Throws "cannot-start"; answers what the person should know. `rootfs` is the rendered tree of an app. */
export function foresee(
  manifest: PodManifest,
  rootfs: (app: string) => HostPath,
  implicitVolumes: ReadonlyMap<string, string> = new Map(),
): string[] {
  const notes = manifest.apps.flatMap((app) => {
    const root = openSync(rootfs(app.name), O_PATH | constants.O_DIRECTORY);
    try {
      const ways = app.mounts.map(({ path }) => way(root, path));
      if (app.app !== undefined) requireStart(app, app.app, { root, ways });
      const notes = hidden(app, root, ways, implicitVolumes);
      const program = app.app?.exec[0] ?? "";
      return isSystemd(root, program) ? [...notes, systemdAsApp(app.name)] : notes;
    } finally {
      closeSync(root);
    }
  });
  return [...notes, ...nestedMounts(manifest)];
}

/** An image, and the ways to what is mounted in it. */
interface Tree {
  root: number;
  ways: readonly (Way | undefined)[];
  /** Where something comes on top of it, once that is asked; "anywhere" when it can't be told. */
  targets?: Targets | "anywhere";
}

interface Targets {
  mounted: readonly string[];
  /** Where something is made that is missing. */
  made: readonly string[];
}

// --- what can't start ---------------------------------------------------------------

function requireStart({ name, annotations }: RuntimeApp, app: App, tree: Tree): void {
  // It may make what is missing.
  if (app.eventHandlers.some((handler) => handler.name === "pre-start")) return;
  const refuse = (problem: string | undefined, option: string, what: string) => {
    if (problem === undefined) return;
    const hint = `${option} after the image, or the pod manifest, names another ${what}`;
    throw new RktError("cannot-start", `app ${name}: ${problem}`, { hint });
  };
  const account = { user: app.user, group: app.group, numeric: numericIds(annotations) };
  refuse(accountProblem("user", account, tree), "--user", "user: a name, a number, or a file whose owner it is");
  refuse(accountProblem("group", account, tree), "--group", "group: a name, a number, or a file whose group it is");
  refuse(directoryProblem(app.workingDirectory ?? "/", tree), "--working-dir", "directory");
  refuse(programProblem(app, tree), "--exec", "program");
}

const ACCOUNT_FILES = { user: "/etc/passwd", group: "/etc/group" };

function accountProblem(what: "user" | "group", asked: Required<AskedAccount>, tree: Tree): string | undefined {
  const { [what]: account, numeric } = asked;
  if (account.startsWith("/")) {
    const found = look(tree.root, account);
    return typeof found === "string" && isCertain(tree, account)
      ? `cannot take the ${what} from the owner of ${account}: ${found}`
      : undefined;
  }
  // Numbers and root need no file; that it is none, as hardly ever happens, the launcher will tell.
  if (/^(?:[0-9]{1,9}|root)$/.test(account)) return undefined;
  const file = ACCOUNT_FILES[what];
  try {
    const text = accountFile(tree.root, file);
    if (text === undefined) return undefined;
    const sources = { passwd: "", group: "", [what === "user" ? "passwd" : "group"]: text, owner: neverAsked };
    resolveAccount({ user: "0", group: "0", [what]: account, numeric }, sources);
    return undefined;
  } catch (error) {
    if (!(error instanceof RktError)) throw error;
    return isCertain(tree, file) ? error.message : undefined;
  }
}

function neverAsked(): never {
  throw new Error("a name has no owner");
}

/** "" where there is none; undefined when that can't be told. */
function accountFile(root: number, path: string): string | undefined {
  const exitCode = 254;
  let fd: number;
  try {
    fd = openat2(root, path, O_PATH, 0, RESOLVE_IN_ROOT);
  } catch (error) {
    const code = errorCode(error) ?? "";
    if (code === "ENOENT" || code === "ENOTDIR") return "";
    if (Object.hasOwn(REASONS, code)) throw badAccountFile(path, `cannot be opened: ${code}`, exitCode);
    return undefined;
  }
  try {
    const file = openAccountFile(fd, path, exitCode);
    try {
      return accountText(file, path, exitCode);
    } finally {
      closeSync(file);
    }
  } finally {
    closeSync(fd);
  }
}

function directoryProblem(path: string, tree: Tree): string | undefined {
  const found = look(tree.root, path);
  if (found === undefined || (typeof found === "object" && found.isDirectory()) || !isCertain(tree, path))
    return undefined;
  return `cannot enter working directory "${path}": ${typeof found === "string" ? found : "it is not a directory"}`;
}

function programProblem({ exec, environment, workingDirectory = "/" }: App, tree: Tree): string | undefined {
  const [name = ""] = exec;
  const searchPath = environment.findLast((variable) => variable.name === "PATH")?.value ?? DEFAULT_PATH;
  const isPath = name.includes("/");
  let problem: string | undefined;
  const places: string[] = [];
  for (const path of programPaths(name, searchPath)) {
    const place = path.startsWith("/") ? path : `${workingDirectory}/${path}`;
    const found = look(tree.root, place);
    const reason = typeof found === "object" ? notAProgram(found) : found;
    if (reason === undefined) return undefined;
    places.push(place);
    // What lies in PATH and is no file is passed over.
    if (isPath || (typeof found === "object" && found.isFile())) problem ??= `cannot execute "${path}": ${reason}`;
  }
  if (!places.every((place) => isCertain(tree, place))) return undefined;
  return problem ?? `cannot execute "${name}": not found in PATH (${searchPath})`;
}

// --- what ends at once ---------------------------------------------------------------

/** A path that leads to a system manager, as `/sbin/init` does in images of whole distributions. */
function isSystemd(root: number, program: string): boolean {
  return program.startsWith("/") && posix.basename(way(root, program)?.end ?? "") === "systemd";
}

const systemdAsApp = (name: string): string =>
  `warning: app ${name}: its program is systemd, which manages a system only as the first process of a container; that is stage 1's, so it will end at once. Run the image's services as apps, each with --exec`;

// --- what is hidden ------------------------------------------------------------------

function hidden(
  { name, mounts }: RuntimeApp,
  root: number,
  ways: readonly (Way | undefined)[],
  implicitVolumes: ReadonlyMap<string, string>,
): string[] {
  // Within something else that comes on top it is hidden already.
  return mounts
    // One that begins as a copy hides nothing.
    .filter(({ volume, path }, i) => implicitVolumes.get(volume) !== name && !leadsThrough(ways[i], [...KERNELS, ...endsBut(ways, i)]) && hasSomething(root, path))
    .map(
      ({ volume, path }) => `app ${name}: volume "${volume}" hides what the image has at ${posix.resolve("/", path)}`,
    );
}

function hasSomething(root: number, path: string): boolean {
  let fd: number;
  try {
    fd = openat2(root, path, O_PATH, 0, RESOLVE_IN_ROOT);
  } catch {
    return false;
  }
  try {
    if (!fstatSync(fd).isDirectory()) return true;
    using directory = opendirSync(fdPath(fd), { bufferSize: 1 });
    return directory.readSync() !== null;
  } finally {
    closeSync(fd);
  }
}

// --- paths in an image ----------------------------------------------------------------

const fdPath = (fd: number): string => `/proc/self/fd/${fd}`;

/** What is certain to be the same in the app's root. */
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "it does not exist in the image",
  ENOTDIR: "a part of its path is not a directory",
  ELOOP: "its path has too many symbolic links, or a loop of them",
  ENAMETOOLONG: "its path is too long",
};

/** What a path leads to, or why to nothing; undefined when that can't be told. */
function look(root: number, path: string): Stats | string | undefined {
  let fd: number;
  try {
    fd = openat2(root, path, O_PATH, 0, RESOLVE_IN_ROOT);
  } catch (error) {
    return REASONS[errorCode(error) ?? ""];
  }
  try {
    return fstatSync(fd);
  } finally {
    closeSync(fd);
  }
}

const KERNELS = ["/dev", "/proc", "/sys"];
/** What the launcher puts into every root, or may. */
const LAUNCHERS = [...KERNELS, "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run/systemd/notify"];
/** A directory that it makes, with nothing in it. */
const MADE = "/tmp";

/** Where mounts end up. One that leads through another's place follows what it finds there, and that nobody knows. */
function mountTargets(root: number, ways: readonly (Way | undefined)[]): Targets | "anywhere" {
  if (ways.some((one, i) => leadsThrough(one, endsBut(ways, i)))) return "anywhere";
  const all = [...LAUNCHERS.map((path) => way(root, path)), ...ways];
  return { mounted: endsBut(all), made: endsBut([...all, way(root, MADE)]) };
}

const endsBut = (ways: readonly (Way | undefined)[], but = -1): string[] =>
  ways.filter((_, i) => i !== but).map((one) => one?.end ?? "/");

/** So does, for all that is known, a way that is too long to tell. */
const leadsThrough = (one: Way | undefined, targets: readonly string[]): boolean =>
  one === undefined || one.places.some((place) => targets.some((target) => contains(target, place)));

/** Whether nothing that comes on top of the image changes what a path leads to. */
function isCertain(tree: Tree, path: string): boolean {
  tree.targets ??= mountTargets(tree.root, tree.ways);
  const { root, targets } = tree;
  const found = way(root, path);
  if (targets === "anywhere" || found === undefined || leadsThrough(found, targets.mounted)) return false;
  // The directories above are made too.
  return !(found.missing && targets.made.some((target) => contains(found.end, target)));
}

const contains = (outer: string, inner: string): boolean =>
  outer === "/" || inner === outer || inner.startsWith(`${outer}/`);

interface Way {
  /** Every place on the way that is there, without links before it, and `end`. */
  places: string[];
  /** The last one; what is missing has the place where it would be made. */
  end: string;
  missing: boolean;
}

/** As many links as the kernel follows, and more components than anybody has. */
const MAX_LINKS = 40;
const MAX_STEPS = 1000;

/** The way of a path through the image, link by link; undefined when it is too long to tell. */
function way(root: number, path: string): Way | undefined {
  const parts = (text: string): string[] => text.split("/").filter((part) => part !== "" && part !== ".");
  const places: string[] = [];
  let at: string[] = [];
  let rest = parts(path);
  let links = 0;
  for (let part = rest.shift(); part !== undefined; part = rest.shift()) {
    if (part === "..") {
      at.pop();
      continue;
    }
    const place = `/${[...at, part].join("/")}`;
    places.push(place);
    if (places.length > MAX_STEPS || rest.length > MAX_STEPS) return undefined;
    const link = linkAt(root, `/${at.join("/")}`, part);
    if (link === undefined || links === MAX_LINKS) {
      if (rest.includes("..")) return undefined;
      const end = [place, ...rest].join("/");
      return { places: [...places, end], end, missing: true };
    }
    if (link === "") at.push(part);
    else {
      links++;
      if (link.startsWith("/")) at = [];
      rest = [...parts(link), ...rest];
    }
  }
  return { places, end: `/${at.join("/")}`, missing: false };
}

/** Where a name of a directory leads, "" when it is no link; undefined when nothing is there. */
function linkAt(root: number, directory: string, name: string): string | undefined {
  let fd: number;
  try {
    fd = openat2(root, directory, O_PATH | constants.O_DIRECTORY, 0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
  } catch {
    return undefined;
  }
  try {
    const path = `${fdPath(fd)}/${name}`;
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return undefined;
    return stat.isSymbolicLink() ? readlinkSync(path) : "";
  } catch {
    // Its name is too long.
    return undefined;
  } finally {
    closeSync(fd);
  }
}
