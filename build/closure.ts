/**
 * Finds the libraries that programs need, in Debian packages. A program names its libraries (DT_NEEDED), and its
 * package depends on the packages that hold them (Debian policy 8.6): so the search needs no index of all files in
 * Debian.
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
  /** The wanted files, and the files that they need. */
  tree: Tree;
  /** The packages of these files. */
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

/** A file that may need others, and the packages in which those should be found. */
interface Taken {
  path: string;
  entry: Entry;
  packages: readonly string[];
}

/** Collects the wanted files with their interpreters and libraries. */
export async function closure({ load, wanted, whole = [], foreign }: ClosureOptions): Promise<Closure> {
  const tree: Tree = new Map(foreign?.tree);
  const used = new Map<string, Package>();
  /** Base names of the files in the tree. */
  const names = new Set<string>();
  /** The loaded packages, in the order of their loading. */
  const known = new Map<string, Package>();
  let taken: Taken[] = [];

  const addFrom = (p: Package, path: string): boolean => {
    const entry = p.tree.get(path);
    if (entry === undefined) return false;
    if (tree.has(path)) return true;
    used.set(p.name, p);
    tree.set(path, entry);
    names.add(posix.basename(path));
    if (entry.type === "symlink") {
      const target = posix.join(posix.dirname(path), entry.target);
      if (!addFrom(p, target) && !addFromAny(target) && !whole.includes(p.name))
        throw new RktError("bad-package", `${p.name}: link ${path} leads to no file: ${target}`);
    } else if (entry.type === "hardlink") addFrom(p, entry.target);
    else taken.push({ path, entry, packages: p.depends });
    return true;
  };
  const addFromAny = (path: string): boolean => tree.has(path) || [...known.values()].some((p) => addFrom(p, path));
  // By name, too: the program that loads a library may have loaded what that needs, from a directory of its own.
  const isMet = (places: readonly string[]) => names.has(baseName(places)) || places.some(addFromAny);

  const loadPackages = async (packages: readonly string[]) => {
    for (const p of await load(packages)) known.set(p.name, p);
  };
  await loadPackages([...new Set([...wanted.keys(), ...whole, ...(foreign?.packages ?? [])])]);
  for (const [path, entry] of foreign?.tree ?? []) taken.push({ path, entry, packages: foreign?.packages ?? [] });
  for (const [p, paths] of wantedFiles(known, wanted, whole))
    for (const path of paths)
      if (!addFrom(p, path)) throw new RktError("bad-package", `package ${p.name} ${p.version} has no file /${path}`);

  // In rounds, since each question to apt costs half a second.
  while (taken.length > 0) {
    const files = taken;
    taken = [];
    const unmet = files.flatMap((file) =>
      needs(file)
        .filter((places) => !isMet(places))
        .map((places) => ({ file, places })),
    );
    await loadPackages([...new Set(unmet.flatMap(({ file }) => file.packages))].filter((name) => LIBRARY_PACKAGE.test(name)));
    const missing = unmet.find(({ places }) => !isMet(places));
    if (missing !== undefined)
      throw new RktError(
        "missing-library",
        `/${missing.file.path} needs ${baseName(missing.places)}, which no package it depends on has`,
        { hint: "name the package that has it too" },
      );
  }
  return { tree, packages: [...used.values()].sort((a, b) => (a.name < b.name ? -1 : 1)) };
}

function wantedFiles(
  known: ReadonlyMap<string, Package>,
  wanted: ReadonlyMap<string, readonly string[]>,
  whole: readonly string[],
): [Package, readonly string[]][] {
  const get = (name: string) => known.get(name) as Package;
  const picked = [...wanted].map(([name, paths]): [Package, readonly string[]] => [get(name), paths]);
  return [...picked, ...whole.map((name): [Package, readonly string[]] => [get(name), programFiles(get(name))])];
}

function programFiles(p: Package): string[] {
  return [...p.tree].filter(([path, e]) => e.type !== "directory" && !DOCUMENTATION.test(path)).map(([path]) => path);
}

/** The interpreter and the libraries of a file, each as the paths where it may be. */
function needs({ path, entry }: Taken): string[][] {
  const elf = entry.type === "file" ? parseElf(bytesOf(entry.content)) : undefined;
  if (elf === undefined) return [];
  const interpreter = elf.interpreter === undefined ? [] : [[usrMergedPath(elf.interpreter.slice(1))]];
  const directories = [...elf.runpath.map((directory) => rootPath(directory, path)), ...LIBRARY_DIRS];
  return [...interpreter, ...elf.needed.map((name) => directories.map((directory) => `${directory}/${name}`))];
}

const baseName = (places: readonly string[]): string => posix.basename(places[0] ?? "");

function bytesOf(content: Content): Uint8Array {
  return "path" in content ? readFileSync(content.path) : content;
}

/** A RUNPATH directory as a path in the root. */
function rootPath(directory: string, of: string): string {
  const absolute = directory.replace(/\$ORIGIN|\$\{ORIGIN\}/g, `/${posix.dirname(of)}`);
  return usrMergedPath(posix.normalize(absolute).replace(/^\/+|\/+$/g, ""));
}
