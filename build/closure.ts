/**
 * Collects files of Debian packages together with all that they need to run: the dynamic loader and the shared
 * libraries. The build of the stage1 images and of the example images calls it.
 *
 * An ELF file names the libraries that it needs (DT_NEEDED), and Debian's policy (8.6) makes its package depend on the
 * packages that hold them. So a library is searched for in the packages on which the file's own package depends, and no
 * index of all files in Debian is necessary. The libraries may need others: the search goes on in rounds, until a round
 * adds no file.
 */

import { readFileSync } from "node:fs";
import { posix } from "node:path";
import { RktError } from "../shared/errors.ts";
import type { Content, Entry, Tree } from "../shared/aci/tree.ts";
import { type Loader, type Package, usrMergedPath } from "./debian.ts";
import { parseElf } from "./elf.ts";

/** ld.so's own search path in Debian's root (ld.so(8), multiarch). */
const LIBRARY_DIRS = ["usr/lib/x86_64-linux-gnu", "usr/lib"];

/** Names of packages with libraries. Other dependencies (debconf, programs) are ignored. */
const LIBRARY_PACKAGE = /^(lib|zlib1g$)/;

/** Files that are left out even of a whole package. */
const DOCUMENTATION = /^usr\/share\/(bug|doc|doc-base|info|lintian|locale|man)\//;

export interface Closure {
  /** The wanted files, and the files that they need, by their paths in the root. */
  tree: Tree;
  /** The packages from which these files are. */
  packages: Package[];
}

export interface ClosureOptions {
  load: Loader;
  /** The wanted paths, by package name. */
  wanted: ReadonlyMap<string, readonly string[]>;
  /** Packages whose files are all wanted, except documentation. Their links may lead to missing files. */
  whole?: readonly string[];
  /** Files that are in no package (the runtime), and the packages with their libraries. */
  foreign?: { tree: Tree; packages: readonly string[] };
}

/** A file of the tree whose needs have not been looked at yet. */
interface NewFile {
  path: string;
  entry: Entry;
  /** The packages in which its libraries should be. */
  packages: readonly string[];
}

/** Something that a file needs: the paths at which it may be, the preferred one first. All have one base name. */
type Need = readonly string[];

/** The tree while it is collected, and the packages that have been loaded for it. */
interface Collection {
  tree: Tree;
  /** Base names of the files that were added to the tree. */
  names: Set<string>;
  /** The files that were added, and whose needs have not been looked at yet. */
  newFiles: NewFile[];
  /** The loaded packages, by name, in the order of their loading. */
  loaded: Map<string, Package>;
  /** The packages with files in the tree. */
  used: Set<Package>;
  load: Loader;
  whole: readonly string[];
}

/** Collects the wanted files with their interpreters and libraries. */
export async function closure({ load, wanted, whole = [], foreign }: ClosureOptions): Promise<Closure> {
  const tree: Tree = new Map(foreign?.tree);
  const newFiles = [...tree].map(([path, entry]) => ({ path, entry, packages: foreign?.packages ?? [] }));
  const collection: Collection = { tree, names: new Set(), newFiles, loaded: new Map(), used: new Set(), load, whole };
  await loadPackages(collection, [...wanted.keys(), ...whole, ...(foreign?.packages ?? [])]);
  for (const [name, paths] of wanted) addWanted(collection, name, () => paths);
  for (const name of whole) addWanted(collection, name, programFiles);
  // In rounds, since each question to apt costs half a second.
  while (collection.newFiles.length > 0) await addNeeds(collection);
  return { tree, packages: [...collection.used].sort((a, b) => (a.name < b.name ? -1 : 1)) };
}

async function loadPackages({ load, loaded }: Collection, names: Iterable<string>): Promise<void> {
  for (const p of await load([...new Set(names)])) loaded.set(p.name, p);
}

function addWanted(collection: Collection, name: string, wanted: (p: Package) => readonly string[]): void {
  const p = collection.loaded.get(name) as Package;
  for (const path of wanted(p))
    if (!addFile(collection, p, path)) throw new RktError("bad-package", `package ${name} ${p.version} has no file /${path}`);
}

/** Adds what the new files need. If no loaded package has it, loads the packages on which these files depend. */
async function addNeeds(collection: Collection): Promise<void> {
  const files = collection.newFiles;
  collection.newFiles = [];
  const unmet = files.flatMap((file) =>
    needs(file)
      .filter((need) => !meet(collection, need))
      .map((need) => ({ file, need })),
  );
  const depended = unmet.flatMap(({ file }) => file.packages);
  await loadPackages(collection, depended.filter((name) => LIBRARY_PACKAGE.test(name)));
  const missing = unmet.find(({ need }) => !meet(collection, need));
  if (missing === undefined) return;
  throw new RktError(
    "missing-library",
    `/${missing.file.path} needs ${baseName(missing.need)}, which no package it depends on has`,
    { hint: "name the package that has it too" },
  );
}

/**
 * Adds what a file needs from a loaded package. False if none has it. A file of that name anywhere in the tree is enough:
 * a library in a directory of its program's own may need another one there, which the program has loaded already.
 */
function meet(collection: Collection, need: Need): boolean {
  return collection.names.has(baseName(need)) || need.some((path) => addFromAny(collection, path));
}

function addFromAny(collection: Collection, path: string): boolean {
  return collection.tree.has(path) || [...collection.loaded.values()].some((p) => addFile(collection, p, path));
}

/** Adds a package's file, and the file that it leads to if it is a link. False if the package does not have it. */
function addFile(collection: Collection, p: Package, path: string): boolean {
  const { tree, names, newFiles, used } = collection;
  const entry = p.tree.get(path);
  if (entry === undefined) return false;
  if (tree.has(path)) return true;
  used.add(p);
  tree.set(path, entry);
  names.add(posix.basename(path));
  if (entry.type === "symlink") addTarget(collection, p, path, entry.target);
  else if (entry.type === "hardlink") addFile(collection, p, entry.target);
  else newFiles.push({ path, entry, packages: p.depends });
  return true;
}

function addTarget(collection: Collection, p: Package, link: string, relative: string): void {
  const target = posix.join(posix.dirname(link), relative);
  if (addFile(collection, p, target) || addFromAny(collection, target) || collection.whole.includes(p.name)) return;
  throw new RktError("bad-package", `${p.name}: link ${link} leads to no file: ${target}`);
}

/** All files of a package except documentation. */
function programFiles(p: Package): string[] {
  return [...p.tree].filter(([path, e]) => e.type !== "directory" && !DOCUMENTATION.test(path)).map(([path]) => path);
}

/** What a file needs: nothing, unless it is an ELF file. */
function needs({ path, entry }: NewFile): Need[] {
  const elf = entry.type === "file" ? parseElf(bytesOf(entry.content)) : undefined;
  if (elf === undefined) return [];
  const interpreter = elf.interpreter === undefined ? [] : [[usrMergedPath(elf.interpreter.slice(1))]];
  const directories = [...elf.runpath.map((directory) => rootPath(directory, path)), ...LIBRARY_DIRS];
  return [...interpreter, ...elf.needed.map((name) => directories.map((directory) => `${directory}/${name}`))];
}

const baseName = (need: Need): string => posix.basename(need[0] ?? "");

function bytesOf(content: Content): Uint8Array {
  return "path" in content ? readFileSync(content.path) : content;
}

/** A directory of the RUNPATH of the file `program`, as a path in the root. */
function rootPath(directory: string, program: string): string {
  const absolute = directory.replace(/\$ORIGIN|\$\{ORIGIN\}/g, `/${posix.dirname(program)}`);
  return usrMergedPath(posix.normalize(absolute).replace(/^\/+|\/+$/g, ""));
}
