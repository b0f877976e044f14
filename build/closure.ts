/**
 * The libraries that programs need, picked out of Debian packages: a program
 * names libraries (DT_NEEDED), and the package it comes from depends on the
 * packages that hold them (Debian policy 8.6), so the search needs no index of
 * all files of the archive.
 */

import { readFileSync } from "node:fs";
import { posix } from "node:path";
import { RktError } from "../shared/errors.ts";
import type { Content, Entry, Tree } from "../shared/aci/tree.ts";
import { type Loader, type Package, usrMergedPath } from "./debian.ts";
import { parseElf } from "./elf.ts";

/** ld.so's own search path in Debian's root (ld.so(8), multiarch). */
const LIBRARY_DIRS = ["usr/lib/x86_64-linux-gnu", "usr/lib"];

/** Names of packages that hold libraries; their other dependencies (debconf, programs) have nothing for a linker. */
const LIBRARY_PACKAGE = /^(lib|zlib1g$)/;

export interface Closure {
  /** What was asked for and what it needs. */
  tree: Tree;
  /** The packages that anything was taken from. */
  packages: Package[];
}

export interface ClosureOptions {
  load: Loader;
  /** Files of packages: package name to the paths wanted of it. */
  wanted: ReadonlyMap<string, readonly string[]>;
  /** Files that come from elsewhere (the runtime), and the packages that hold their libraries. */
  foreign?: { tree: Tree; packages: readonly string[] };
}

/** Takes the wanted files and, with them, their interpreters and libraries. */
export async function closure({ load, wanted, foreign }: ClosureOptions): Promise<Closure> {
  const tree: Tree = new Map(foreign?.tree);
  const used = new Map<string, Package>();
  const names = new Set<string>();
  /** Packages in which to look, in the order they became known. */
  const known = new Map<string, Package>();
  const know = (packages: readonly Package[]) => {
    for (const p of packages) known.set(p.name, p);
  };
  /** ELF files whose needs are still to be met, with the packages that should know how. */
  const open: { path: string; entry: Entry; packages: readonly string[] }[] = [];

  const take = (p: Package, path: string): boolean => {
    const entry = p.tree.get(path);
    if (entry === undefined) return false;
    if (tree.has(path)) return true;
    used.set(p.name, p);
    tree.set(path, entry);
    names.add(posix.basename(path));
    if (entry.type === "symlink") {
      const target = posix.join(posix.dirname(path), entry.target);
      if (!takeFromAny(target, p))
        throw new RktError("bad-package", `${p.name}: link ${path} leads to no file: ${target}`);
    } else if (entry.type === "hardlink") take(p, entry.target);
    else open.push({ path, entry, packages: p.depends });
    return true;
  };
  const takeFromAny = (path: string, first?: Package): boolean => {
    if (tree.has(path)) return true;
    if (first !== undefined && take(first, path)) return true;
    for (const p of known.values()) if (take(p, path)) return true;
    return false;
  };

  know(await load([...wanted.keys()]));
  know(await load(foreign?.packages ?? []));
  for (const [path, entry] of foreign?.tree ?? []) open.push({ path, entry, packages: foreign?.packages ?? [] });
  for (const [name, paths] of wanted) {
    const p = known.get(name) as Package;
    for (const path of paths)
      if (!take(p, path)) throw new RktError("bad-package", `package ${name} ${p.version} has no file /${path}`);
  }

  for (let file = open.shift(); file !== undefined; file = open.shift()) {
    const { path, entry, packages } = file;
    const elf = entry.type === "file" ? parseElf(bytesOf(entry.content)) : undefined;
    if (elf === undefined) continue;
    const interpreter = elf.interpreter === undefined ? [] : [[usrMergedPath(elf.interpreter.slice(1))]];
    const runpath = elf.runpath.map((dir) => rootPath(dir, path));
    const libraries = elf.needed.map((name) => [...runpath, ...LIBRARY_DIRS].map((dir) => `${dir}/${name}`));
    // What a library needs may also have been loaded by the program that loaded it, from a place only that knows.
    const isMet = (places: readonly string[]) =>
      names.has(posix.basename(places[0] ?? "")) || places.some((place) => takeFromAny(place));
    const unmet = [...interpreter, ...libraries].filter((places) => !isMet(places));
    if (unmet.length === 0) continue;
    know(await load(packages.filter((name) => LIBRARY_PACKAGE.test(name))));
    const missing = unmet.find((places) => !isMet(places));
    if (missing !== undefined)
      throw new RktError(
        "missing-library",
        `/${path} needs ${posix.basename(missing[0] ?? "")}, which no package it depends on has`,
        {
          hint: "name the package that has it with --package",
        },
      );
  }
  return { tree, packages: [...used.values()].sort((a, b) => (a.name < b.name ? -1 : 1)) };
}

function bytesOf(content: Content): Uint8Array {
  return "path" in content ? readFileSync(content.path) : content;
}

/** A RUNPATH directory as a path of the root. */
function rootPath(directory: string, of: string): string {
  const absolute = directory.replace(/\$ORIGIN|\$\{ORIGIN\}/g, `/${posix.dirname(of)}`);
  return usrMergedPath(posix.normalize(absolute).replace(/^\/+|\/+$/g, ""));
}
