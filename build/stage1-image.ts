/**
 * Builds a stage1 image, which has the programs between the host and a container's apps. It is a program
 * (`npm run build:stage1 -- --help`), and a step of `npm run build`.
 *
 * The image has its own systemd, nspawn, shell and libraries, from Debian packages, so that the host needs none of
 * them. The same inputs give the same image ID.
 */

import { readFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { parseArgs } from "node:util";
import { addDirectory, addFile, addSymlink, readTree, type Tree } from "../shared/aci/tree.ts";
import { archive, COMPRESSIONS, type Compression, sourceDateEpoch, writeAci } from "../shared/aci/writer.ts";
import { usageError } from "../shared/errors.ts";
import {
  type Entrypoint,
  ENTRYPOINTS,
  INTERFACE_VERSION_ANNOTATION,
  IPC_SUPPORT,
  type IpcMode,
  PRIVATE_USERS_SUPPORT,
  SOCKETS_SUPPORT,
} from "../shared/contract/annotations.ts";
import { STAGE1 } from "../shared/contract/stage1-root.ts";
import { STAGE1_INTERFACE_VERSION } from "../shared/contract/versions.ts";
import { APPC_VERSION, formatImageManifest, parseImageManifest } from "../shared/schema/image-manifest.ts";
import { defaultFilter } from "../shared/seccomp.ts";
import { filterProgram } from "../shared/seccomp-program.ts";
import { bundle, stage1Executable } from "./bundle.ts";
import { closure } from "./closure.ts";
import { type Loader, type Package, packageLoader, SOURCES, type Source } from "./debian.ts";
import { execHelper } from "./exec-helper.ts";
import { extractTree } from "./extract.ts";
import { runtimeLicence, ownLicence } from "./licences.ts";
import { CACHE, DIST, VERSION } from "./paths.ts";
import { choice, existingPath, level, megabytes, program, userPath } from "./program.ts";
import type { BuiltImage } from "./recipe.ts";
import { spdxDocument } from "./sbom.ts";
import { stage1Assets } from "./script-names.ts";
import { overlay, skeleton } from "./skeleton.ts";

export const FLAVORS = ["nspawn", "fly"] as const;
export type Flavor = (typeof FLAVORS)[number];

/** Files of the nspawn flavor, by Debian package. The libraries that they need are added. */
const NSPAWN_PACKAGES: ReadonlyMap<string, readonly string[]> = new Map([
  [
    "systemd",
    [
      "usr/lib/systemd/systemd",
      // The kernel runs it when a cgroup of a v1 hierarchy becomes empty.
      "usr/lib/systemd/systemd-cgroups-agent",
    ],
  ],
  ["systemd-container", ["usr/bin/systemd-nspawn"]],
  ["util-linux", ["usr/bin/flock", "usr/bin/nsenter", "usr/bin/setpriv"]],
  // The pty of `rkt enter`.
  ["bsdutils", ["usr/bin/script"]],
  ["busybox-static", ["usr/bin/busybox"]],
  [
    "containernetworking-plugins",
    [
      ...["bridge", "host-device", "ipvlan", "loopback", "macvlan", "ptp", "vlan"],
      ...["dhcp", "host-local", "static"],
      ...["bandwidth", "firewall", "portmap", "sbr", "tuning", "vrf"],
    ].map((plugin) => `usr/lib/cni/${plugin}`),
  ],
  // Both run in each container, for its streams (ADR 4). They share libraries with systemd, to save memory.
  ["coreutils", ["usr/bin/cat"]],
  ["luajit", ["usr/bin/luajit"]],
]);

/** Packages with the libraries of the runtime, which is not from Debian. */
const RUNTIME_LIBRARIES = ["libc6"];

const inRoot = (path: string): string => path.replace(/^\/+/, "");

interface FlavorParts {
  picked: ReadonlyMap<string, readonly string[]>;
  /** Names under which the image has busybox as a program. */
  busybox: readonly string[];
  /** Packages with the libraries of the runtime. Empty for fly: there it uses the host's libraries. */
  runtimeLibraries: readonly string[];
  /** Path of the launcher, a link to our executable. */
  launcher: string;
  /** The entrypoints are links to our executable too, and no scripts of the flavor's own. */
  ownInit: boolean;
  /** Directory of further files (`stage1Assets`). */
  assets: string;
  /** Files from another flavor's directory. */
  further: readonly { from: string; paths: readonly string[] }[];
  /** A container can have its own users (ADR 6). */
  privateUsers: boolean;
  /** The modes of `--ipc` that it knows. */
  ipc: readonly IpcMode[];
  /** Apps get the sockets that rkt was started with. */
  sockets: boolean;
  /** There is no `gc`: stage 0 itself removes the cgroups, which are listed (docs/extend/layout.md). */
  entrypoints: readonly Entrypoint[];
}

const PARTS: Record<Flavor, FlavorParts> = {
  nspawn: {
    picked: NSPAWN_PACKAGES,
    busybox: ["echo", "false", "kill", "ls", "mkfifo", "mv", "ps", "rm", "sh", "sleep", "tee", "true"],
    runtimeLibraries: RUNTIME_LIBRARIES,
    launcher: STAGE1.launcher,
    ownInit: true,
    assets: "stage1/nspawn/rootfs",
    further: [],
    privateUsers: true,
    ipc: ["private", "parent"],
    sockets: true,
    entrypoints: ["init", "enter", "stop"],
  },
  fly: {
    picked: new Map([
      ["busybox-static", ["usr/bin/busybox"]],
      // Between an app's streams and the caller's.
      ["luajit", ["usr/bin/luajit"]],
    ]),
    busybox: ["kill", "mount", "mv", "sh", "unshare"],
    runtimeLibraries: [],
    launcher: STAGE1.hostLauncher,
    ownInit: false,
    assets: "stage1/fly/rootfs",
    further: [{ from: "stage1/nspawn/rootfs", paths: [inRoot(STAGE1.streams)] }],
    privateUsers: false,
    ipc: ["parent"],
    sockets: false,
    entrypoints: ["init", "enter", "stop"],
  },
};

const FILES: readonly [path: string, text: string][] = [
  ["etc/group", "root:x:0:\nnogroup:x:65534:\n"],
  ["etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"],
  ["etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"],
  [
    "usr/lib/os-release",
    `NAME="rkt stage1"\nID=rkt-stage1\nVERSION_ID=${VERSION}\nPRETTY_NAME="rkt stage1 ${VERSION}"\n`,
  ],
];

const PACKAGE_LIST = "usr/share/rkt/packages.txt";
const SBOM = "usr/share/rkt/sbom.spdx.json";

export interface Stage1Options {
  output: string;
  flavor: Flavor;
  /** Name of the image. */
  name: string;
  source: Source;
  /** Directory of downloaded packages and of compiled programs. */
  cache: string;
  compression: Compression;
  level?: number;
  /** An executable that replaces the flavor's init. */
  init?: string | undefined;
  /** An executable that replaces the launcher. */
  launcher?: string | undefined;
  /** Debian packages whose files are all added, except documentation. */
  packages: readonly string[];
  /** Files or directories of the host to add, with their absolute paths in the image. */
  files: readonly { source: string; target: string }[];
  /** Also write the root file system to this directory. */
  keepTree?: string | undefined;
}

export const STAGE1_DEFAULTS: Stage1Options = {
  output: join(DIST, "stage1-nspawn.aci"),
  flavor: "nspawn",
  name: "coreos.com/rkt/stage1-nspawn",
  source: "debian",
  cache: CACHE,
  compression: "gzip",
  packages: [],
  files: [],
};

/** The default name and output file of a flavor. */
export function flavorDefaults(flavor: Flavor): Stage1Options {
  const image = `stage1-${flavor}`;
  return { ...STAGE1_DEFAULTS, flavor, output: join(DIST, `${image}.aci`), name: `coreos.com/rkt/${image}` };
}

export async function buildStage1(options: Stage1Options, load = stage1Loader(options)): Promise<BuiltImage> {
  const { tree, packages } = await stage1Tree(options, load);
  const written = await writeAci(
    options.output,
    {
      manifest: stage1Manifest(options.name, PARTS[options.flavor]),
      rootfs: tree,
      mtime: sourceDateEpoch(),
    },
    options,
  );
  if (options.keepTree !== undefined) await extractTree(tree, options.keepTree);
  return { ...written, packages };
}

/**
 * `init` is in the root directory, by the original design. The other entrypoints, which the host executes while the
 * container runs, are in a directory that is read-only then.
 */
const entrypointPath = (entrypoint: Entrypoint): string =>
  entrypoint !== "init" ? `${dirname(STAGE1.launcher)}/${entrypoint}` : `/${entrypoint}`;

export function stage1Manifest(
  name: string,
  { entrypoints: provided, privateUsers, ipc, sockets }: Pick<FlavorParts, "entrypoints" | "privateUsers" | "ipc" | "sockets">,
): string {
  const entrypoints = provided.map((entrypoint) => ({
    name: ENTRYPOINTS[entrypoint],
    value: entrypointPath(entrypoint),
  }));
  const manifest = {
    acKind: "ImageManifest",
    acVersion: APPC_VERSION,
    name,
    labels: [
      { name: "version", value: VERSION },
      { name: "os", value: "linux" },
      { name: "arch", value: "amd64" },
    ],
    annotations: [
      ...entrypoints,
      { name: INTERFACE_VERSION_ANNOTATION, value: STAGE1_INTERFACE_VERSION },
      { name: IPC_SUPPORT, value: ipc.join() },
      ...(sockets ? [{ name: SOCKETS_SUPPORT, value: "true" }] : []),
      ...(privateUsers ? [{ name: PRIVATE_USERS_SUPPORT, value: "true" }] : []),
    ],
  };
  return formatImageManifest(parseImageManifest(JSON.stringify(manifest), { object: "stage1 manifest" }));
}

function stage1Loader(options: Stage1Options): Loader {
  return packageLoader(options.source, options.cache);
}

/** Bundles the programs of the stage1 images into `directory`. */
export async function bundlePrograms(directory: string): Promise<{ init: string; launcher: string }> {
  const paths = { init: join(directory, "init.cjs"), launcher: join(directory, "launcher.cjs") };
  await Promise.all([bundle("init", paths.init), bundle("launcher", paths.launcher)]);
  return paths;
}

const compiled = new Map<string, Promise<Buffer>>();

/** The executable of all stage1 images; a build makes it once. */
function ownExecutable(cache: string): Promise<Buffer> {
  let making = compiled.get(cache);
  if (making === undefined) {
    making = (async () => {
      const output = join(cache, "stage1-runtime");
      await stage1Executable(await bundlePrograms(cache), output);
      return readFileSync(output);
    })();
    compiled.set(cache, making);
  }
  return making;
}

async function stage1Tree(options: Stage1Options, load: Loader): Promise<{ tree: Tree; packages: Package[] }> {
  const { picked: wanted, busybox, runtimeLibraries, launcher, ownInit, entrypoints } = PARTS[options.flavor];
  const executables: Tree = new Map();
  addFile(executables, inRoot(STAGE1.runtime), await ownExecutable(options.cache), 0o755);
  const withLibraries = runtimeLibraries.length > 0;
  const foreign = withLibraries ? { foreign: { tree: executables, packages: runtimeLibraries } } : {};
  const picked = await closure({ load, wanted, whole: options.packages, ...foreign });

  const tree = skeleton();
  addDirectory(tree, inRoot(STAGE1.base));
  addDirectory(tree, inRoot(STAGE1.stage2));
  overlay(tree, executables);
  overlay(tree, picked.tree);
  for (const name of busybox) addSymlink(tree, `usr/bin/${name}`, "busybox");
  for (const [path, text] of FILES) addFile(tree, path, text);
  addSymlink(tree, "etc/os-release", "../usr/lib/os-release");
  const created = sourceDateEpoch();
  addFile(tree, SBOM, spdxDocument({ name: options.name, packages: picked.packages, created }));
  for (const p of picked.packages) await addLicence(tree, p, load);
  for (const [name, text] of [
    ["rkt", ownLicence()],
    ["bun", runtimeLicence()],
  ] as const)
    addFile(tree, `usr/share/doc/${name}/copyright`, text);
  addFile(tree, PACKAGE_LIST, picked.packages.map((p) => `${p.name} ${p.version}\n`).join(""));
  // The filter is compiled here, because that takes milliseconds and every app needs it.
  addFile(tree, inRoot(STAGE1.exec), execHelper(), 0o755);
  if (options.flavor === "nspawn")
    addFile(tree, inRoot(STAGE1.defaultFilter), filterProgram(defaultFilter()), 0o644);
  const link = (path: string) => addSymlink(tree, inRoot(path), relative(dirname(path), STAGE1.runtime));
  link(launcher);
  if (ownInit) for (const entrypoint of entrypoints) link(entrypointPath(entrypoint));
  overlay(tree, flavorAssets(options.flavor));
  if (options.launcher !== undefined) addFile(tree, inRoot(launcher), readFileSync(options.launcher), 0o755);
  if (options.init !== undefined) {
    addFile(tree, inRoot(entrypointPath("init")), readFileSync(options.init), 0o755);
    // Ours writes it. If it were absent, systemd would assume the machine's first boot (machine-id(5)).
    addFile(tree, inRoot(STAGE1.systemdMachineId), "");
  }
  for (const { source, target } of options.files) overlay(tree, placed(source, target));
  return { tree, packages: picked.packages };
}

/** Adds a package's licence (Debian policy 12.5). Packages of one source may share a directory. */
async function addLicence(tree: Tree, { name, tree: files }: Package, load: Loader): Promise<void> {
  const directory = `usr/share/doc/${name}`;
  const shared = files.get(directory);
  const entry = files.get(`${directory}/copyright`);
  if (entry?.type === "file") tree.set(`${directory}/copyright`, entry);
  else if (shared?.type === "symlink") {
    tree.set(directory, shared);
    for (const p of await load([basename(shared.target)])) await addLicence(tree, p, load);
  }
}

function flavorAssets(flavor: Flavor): Tree {
  const { assets, further } = PARTS[flavor];
  const tree = stage1Assets(assets);
  for (const { from, paths } of further)
    overlay(tree, new Map([...stage1Assets(from)].filter(([path]) => paths.includes(path))));
  return tree;
}

/** The parts of a flavor that come from the project's sources. */
export async function flavorSources(
  flavor: Flavor,
  programs: { init: string; launcher: string },
): Promise<Uint8Array[]> {
  const assets: Uint8Array[] = [];
  for await (const chunk of archive({ manifest: "", rootfs: flavorAssets(flavor) })) assets.push(chunk);
  return [...Object.values(programs).map((path) => readFileSync(path)), ...assets];
}

/** A file or directory of the host, as a tree with its files at `target`. */
function placed(source: string, target: string): Tree {
  const root = readTree(source, { owner: { uid: 0, gid: 0 } });
  const base = inRoot(target).replace(/\/+$/, "");
  return new Map([...root].map(([path, entry]) => [[base, path].filter((part) => part !== "").join("/"), entry]));
}

const HELP = `Usage: npm run build:stage1 -- [options]

Builds a stage1 image: for the nspawn flavor systemd, systemd-nspawn, nsenter,
busybox and the libraries they need, and rkt's own init and launcher, one
executable with Bun inside; for the fly flavor, which isolates nothing but the
file system, busybox, LuaJIT and that executable. docs/extend/stage1-guide.md has worked examples.

The Debian files come from packages that apt downloads into the cache; they
need not be installed. Nothing but apt's lists and the options decides the
result: the same inputs give the same image ID. The packages and versions are
listed inside the image, in /${PACKAGE_LIST} and, as SPDX, in
/${SBOM}; their licences are in /usr/share/doc.

What is laid over what, last wins: Debian's files, init and launcher, the
flavor's own files, then each --file in order.

  --output FILE       where to write (dist/stage1-FLAVOR.aci)
  --flavor FLAVOR     what becomes of the container: ${FLAVORS.join(", ")} (nspawn)
  --name NAME         name of the image (coreos.com/rkt/stage1-FLAVOR)
  --from SOURCE       "debian": packages downloaded by apt; "host": the same
                      packages' files as they are installed here (debian)
  --package NAME      add the files of this Debian package, except its
                      documentation, and the libraries they need; may be
                      repeated
  --file SRC:DST      add a file or directory of this machine at the absolute
                      path DST of the image; may be repeated
  --init FILE         use this executable as init instead of the flavor's own
  --launcher FILE     use this executable as launcher instead of stage2/main.ts
  --compression C     ${COMPRESSIONS.join(", ")} (gzip)
  --level N           compression level (the format's usual one)
  --keep-tree DIR     also leave the root file system in DIR, which is replaced
  --cache DIR         downloaded packages and compiled programs (.cache)
  --help

SOURCE_DATE_EPOCH sets the time stamp of all files (0).

Examples:
  npm run build:stage1 -- --output /tmp/stage1.aci --package strace
  npm run build:stage1 -- --init ./my-init.sh --name example.com/my-stage1
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      output: { type: "string" },
      flavor: { type: "string", default: STAGE1_DEFAULTS.flavor },
      name: { type: "string" },
      from: { type: "string", default: STAGE1_DEFAULTS.source },
      package: { type: "string", multiple: true, default: [] },
      file: { type: "string", multiple: true, default: [] },
      init: { type: "string" },
      launcher: { type: "string" },
      compression: { type: "string", default: STAGE1_DEFAULTS.compression },
      level: { type: "string" },
      "keep-tree": { type: "string" },
      cache: { type: "string", default: STAGE1_DEFAULTS.cache },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const defaults = flavorDefaults(choice("flavor", values.flavor, FLAVORS));
  const output = userPath(values.output ?? defaults.output);
  const image = await buildStage1({
    flavor: defaults.flavor,
    output,
    name: values.name ?? defaults.name,
    source: choice("from", values.from, SOURCES),
    cache: userPath(values.cache),
    compression: choice("compression", values.compression, COMPRESSIONS),
    ...level(values.level),
    init: values.init === undefined ? undefined : existingPath("init", values.init),
    launcher: values.launcher === undefined ? undefined : existingPath("launcher", values.launcher),
    packages: values.package,
    files: values.file.map(placement),
    keepTree: values["keep-tree"] === undefined ? undefined : userPath(values["keep-tree"]),
  });
  process.stderr.write(`${image.packages.map((p) => `${p.name} ${p.version}`).join("\n")}\n`);
  process.stdout.write(`${output}\n${megabytes(image.size)} (${megabytes(image.archiveSize)} unpacked)\n${image.id}\n`);
}

function placement(argument: string): { source: string; target: string } {
  const match = /^(.+):(\/.*)$/.exec(argument);
  if (match?.[1] === undefined || match[2] === undefined)
    throw usageError(`--file takes SRC:DST with an absolute DST, not ${argument}`);
  return { source: existingPath("file", match[1]), target: match[2] };
}

if (import.meta.main) await program("build:stage1", main);
