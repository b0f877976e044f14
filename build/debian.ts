/**
 * Reads the files of Debian packages without installing them: apt downloads a package into a cache, and dpkg-deb reads
 * it. Or they are read from this machine, if the package is installed.
 *
 * apt is trusted for authenticity: its signed lists have each package's SHA-256, which is checked again for cached
 * files. The packages' contents are trusted. Trees are usr-merged (`/lib` is `usr/lib` and so on), and their links are
 * relative, so that they are also right for a process outside the root.
 */

import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, renameSync, rmSync } from "node:fs";
import { join, posix } from "node:path";
import { promisify } from "node:util";
import { errorText, RktError } from "../shared/errors.ts";
import type { Entry, Tree } from "../shared/aci/tree.ts";

const run = promisify(execFile);

export const SOURCES = ["debian", "host"] as const;
export type Source = (typeof SOURCES)[number];

export interface Package {
  name: string;
  version: string;
  /** Pre-Depends and Depends, the first of alternatives. */
  depends: string[];
  tree: Tree;
}

/** Loads packages by name, each once. One call with many names is faster, because each call runs apt. */
export type Loader = (names: readonly string[]) => Promise<Package[]>;

/** Downloaded packages are kept below `cache`. */
export function packageLoader(source: Source, cache: string): Loader {
  const directory = join(cache, "debian");
  const loaded = new Map<string, Promise<Package>>();
  return async (names) => {
    const missing = names.filter((name) => !loaded.has(name));
    if (missing.length > 0) {
      const batch = source === "debian" ? fetchPackages(missing, directory) : installedPackages(missing);
      for (const name of missing)
        loaded.set(
          name,
          batch.then((packages) => found(packages, name)),
        );
    }
    return Promise.all(names.map((name) => loaded.get(name) as Promise<Package>));
  };
}

function found(packages: readonly Package[], name: string): Package {
  const match = packages.find((p) => p.name === name);
  if (match === undefined) throw new Error(`package ${name} was not loaded`);
  return match;
}

// --- from the archive ---------------------------------------------------------

interface Stanza {
  name: string;
  version: string;
  depends: string[];
  file: string;
  sha256: string;
}

async function fetchPackages(names: readonly string[], cache: string): Promise<Package[]> {
  mkdirSync(cache, { recursive: true });
  const stanzas = await candidates(names);
  const absent = stanzas.filter((stanza) => !existsSync(`${cache}/${stanza.file}`));
  if (absent.length > 0) await download(absent, cache);
  return mapLimited(stanzas, 4, async (stanza) => {
    const deb = `${cache}/${stanza.file}`;
    const hash = createHash("sha256").update(readFileSync(deb)).digest("hex");
    if (hash !== stanza.sha256)
      throw new RktError("bad-package", `${deb} is not the package that apt's lists describe`, {
        hint: "remove the file and build again",
      });
    const { name, version, depends } = stanza;
    return { name, version, depends, tree: await readDeb(deb) };
  });
}

/** The versions that a build would use now, by package name; empty if apt does not know one of them. */
export async function candidateVersions(names: readonly string[]): Promise<Record<string, string>> {
  try {
    const stanzas = names.length === 0 ? [] : await candidates(names);
    return Object.fromEntries(stanzas.map(({ name, version }) => [name, version]));
  } catch (error) {
    // Without versions everything is built again, and that reports the error.
    if (error instanceof RktError) return {};
    throw error;
  }
}

/** The versions that apt would install now. */
async function candidates(names: readonly string[]): Promise<Stanza[]> {
  const stanzas = (await aptCacheShow(names)).split("\n\n").map(stanzaOf);
  return names.map((name) => {
    const stanza = stanzas.find((s) => s.name === name);
    if (stanza === undefined || stanza.file === "" || stanza.sha256 === "")
      throw new RktError("no-such-package", `apt knows no downloadable package ${name}`, {
        hint: "run `apt-get update`, or take installed files with --from=host",
      });
    return stanza;
  });
}

/** The stanzas of the packages that apt knows. If it does not know one, apt-cache fails, but shows the others. */
async function aptCacheShow(names: readonly string[]): Promise<string> {
  try {
    return (await command("apt-cache", ["show", "--no-all-versions", ...names])).stdout;
  } catch (error) {
    const cause = error instanceof RktError ? error.cause : undefined;
    if (cause instanceof Error && "stdout" in cause && "code" in cause && typeof cause.code === "number")
      return String(cause.stdout);
    throw error;
  }
}

function stanzaOf(text: string): Stanza {
  const fields = new Map<string, string>();
  for (const line of text.split("\n")) {
    const match = /^([A-Za-z0-9-]+): (.*)$/.exec(line);
    if (match?.[1] !== undefined && match[2] !== undefined) fields.set(match[1], match[2]);
  }
  const field = (key: string) => fields.get(key) ?? "";
  // apt's own file names: the epoch's colon escaped.
  const version = field("Version");
  const file = `${field("Package")}_${version.replace(":", "%3a")}_${field("Architecture")}.deb`;
  return {
    name: field("Package"),
    version,
    depends: dependsOf(`${field("Pre-Depends")}, ${field("Depends")}`),
    file: field("Filename") === "" ? "" : file,
    sha256: field("SHA256"),
  };
}

/** `a (>= 1), b | c` is a and b. */
function dependsOf(text: string): string[] {
  const names = text.split(",").map((clause) => (/^[a-z0-9][a-z0-9+.-]*/.exec(clause.trim()) ?? [""])[0]);
  return [...new Set(names.filter((name) => name !== ""))];
}

/** Downloads packages. A package appears in the cache only when it is complete, because two builds may share it. */
async function download(stanzas: readonly Stanza[], cache: string): Promise<void> {
  const temporary = mkdtempSync(join(cache, "download-"));
  try {
    const wanted = stanzas.map((stanza) => `${stanza.name}=${stanza.version}`);
    // Run by root, apt would change to another user, which can't write here.
    await command("apt-get", ["download", "--quiet", "-o", "APT::Sandbox::User=root", ...wanted], temporary);
    for (const { file } of stanzas) renameSync(join(temporary, file), join(cache, file));
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

async function command(program: string, args: readonly string[], cwd?: string): Promise<{ stdout: string }> {
  try {
    return await run(program, args, {
      cwd,
      env: { ...process.env, LC_ALL: "C" },
      maxBuffer: 1 << 26,
    });
  } catch (cause) {
    const stderr = cause instanceof Error && "stderr" in cause ? String(cause.stderr).trim() : "";
    const detail = stderr === "" ? errorText(cause) : stderr.split("\n").join("; ");
    throw new RktError("debian-failed", `${program} ${args[0]}: ${detail}`, {
      hint: "Debian's packages are the source of this image: apt and dpkg must work on this machine",
      cause,
    });
  }
}

/** The files of a .deb, with the owners and modes in its archive. */
async function readDeb(deb: string): Promise<Tree> {
  const { Parser } = await import("tar");
  const tree: Tree = new Map();
  const child = spawn("dpkg-deb", ["--fsys-tarfile", deb], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  const parser = new Parser({ strict: true });
  const parsed = new Promise<void>((resolve, reject) => {
    parser.on("end", resolve);
    parser.on("error", reject);
  });
  parser.on("entry", (entry) => {
    const chunks: Buffer[] = [];
    entry.on("data", (chunk: Buffer) => chunks.push(chunk));
    entry.on("end", () => {
      const path = entry.path.replace(/^\.?\/+/, "").replace(/\/+$/, "");
      const owner = { mode: (entry.mode ?? 0o644) & 0o7777, uid: entry.uid ?? 0, gid: entry.gid ?? 0 };
      if (path === "") return;
      if (entry.type === "File" || entry.type === "OldFile")
        tree.set(path, { ...owner, type: "file", content: Buffer.concat(chunks) });
      else if (entry.type === "Directory") tree.set(path, { ...owner, type: "directory" });
      else if (entry.type === "SymbolicLink")
        tree.set(path, { ...owner, type: "symlink", target: entry.linkpath ?? "" });
      else if (entry.type === "Link")
        tree.set(path, { ...owner, type: "hardlink", target: (entry.linkpath ?? "").replace(/^\.?\/+/, "") });
      else throw new Error(`${deb}: unexpected ${entry.type} ${path}`);
    });
  });
  child.stdout.pipe(parser);
  const [status] = await Promise.all([ended, parsed]);
  if (status !== 0) throw new RktError("bad-package", `dpkg-deb cannot read ${deb}`);
  return usrMerged(tree);
}

// --- from this machine --------------------------------------------------------

async function installedPackages(names: readonly string[]): Promise<Package[]> {
  const fields = ["binary:Package", "Version", "Pre-Depends", "Depends"];
  const format = `${fields.map((field) => `\${${field}}`).join("\\t")}\\n`;
  const { stdout } = await command("dpkg-query", ["--show", `--showformat=${format}`, ...names]);
  const packages = stdout
    .trim()
    .split("\n")
    .map((line) => {
      const [name = "", version = "", preDepends = "", depends = ""] = line.split("\t");
      // A package of several architectures is called NAME:ARCH.
      return { name: name.replace(/:.*/, ""), version, depends: dependsOf(`${preDepends}, ${depends}`) };
    });
  return mapLimited(packages, 4, async (p) => {
    const files = await command("dpkg-query", ["--listfiles", p.name]);
    return { ...p, tree: usrMerged(installedTree(files.stdout.split("\n"))) };
  });
}

/** Reads the listed files. Missing ones (diversions, files that a policy left out) are skipped. */
function installedTree(files: readonly string[]): Tree {
  const tree: Tree = new Map();
  for (const file of files) {
    const stat = lstatSync(file, { throwIfNoEntry: false });
    if (!file.startsWith("/") || file === "/." || stat === undefined) continue;
    const owner = { mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid };
    if (stat.isDirectory()) tree.set(file.slice(1), { ...owner, type: "directory" });
    else if (stat.isSymbolicLink()) tree.set(file.slice(1), { ...owner, type: "symlink", target: readlinkSync(file) });
    else if (stat.isFile()) tree.set(file.slice(1), { ...owner, type: "file", content: readFileSync(file) });
  }
  return tree;
}

// --- layout -------------------------------------------------------------------

/** Top-level directories that are links into /usr (Debian's usr-merge). */
export const USR_MERGED = ["bin", "sbin", "lib", "lib64"] as const;

/** The path in a usr-merged root of a path in a package. */
export function usrMergedPath(path: string): string {
  const top = path.split("/", 1)[0] ?? "";
  return (USR_MERGED as readonly string[]).includes(top) ? `usr/${path}` : path;
}

function usrMerged(tree: Tree): Tree {
  const merged: Tree = new Map();
  for (const [path, entry] of tree) {
    const to = usrMergedPath(path);
    merged.set(to, movedEntry(entry, path, to));
  }
  return merged;
}

function movedEntry(entry: Entry, from: string, to: string): Entry {
  if (entry.type === "hardlink") return { ...entry, target: usrMergedPath(entry.target) };
  if (entry.type !== "symlink") return entry;
  const absolute = posix.resolve("/", posix.dirname(from), entry.target).slice(1);
  return { ...entry, target: posix.relative(posix.dirname(to), usrMergedPath(absolute)) };
}

async function mapLimited<A, B>(items: readonly A[], limit: number, work: (item: A) => Promise<B>): Promise<B[]> {
  const results: B[] = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const at = next++;
      results[at] = await work(items[at] as A);
    }
  };
  await Promise.all(Array.from({ length: limit }, worker));
  return results;
}
