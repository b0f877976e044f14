/**
 * Makes a stage1 root for tests of the launcher alone, without nspawn, systemd and an image. It has all that the
 * launcher uses: the runtime, the manifest, kernel file systems, volumes, and a first process that is root with all
 * capabilities.
 *
 * Each run has its own mount and PID namespaces, so that nothing outlives it.
 */

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { TestContext } from "node:test";
import { execHelper } from "../../build/exec-helper.ts";
import { stage1Executable } from "../../build/bundle.ts";
import { bundlePrograms } from "../../build/stage1-image.ts";
import { ANNOTATIONS } from "../../shared/contract/annotations.ts";
import { appDirs, containerLayout } from "../../shared/contract/container-directory.ts";
import { STAGE1 } from "../../shared/contract/stage1-root.ts";
import { LAYOUT_VERSION } from "../../shared/contract/versions.ts";
import { bareApp } from "../../shared/schema/image-manifest.ts";
import { formatPodManifest } from "../../shared/schema/pod-manifest.ts";
import type { App, NameValue, PodManifest, RuntimeApp, Volume } from "../../shared/schema/types.ts";

export interface AppSettings extends Partial<Omit<RuntimeApp, "app">> {
  app?: Partial<App>;
}

export interface ContainerSettings {
  /** By default one app, "app". */
  apps?: AppSettings[];
  volumes?: Volume[];
  annotations?: NameValue[];
}

export interface LaunchResult {
  status: number | null;
  stdout: string;
  stderr: string;
}

export interface Stage1Root {
  /** The host's path of a path in the stage1 root. */
  path(inStage1: string): string;
  /** The host's path of a path in an app's root. */
  inApp(path: string, app?: string): string;
  /** Writes the container manifest. */
  configure(settings: ContainerSettings): void;
  /** Runs `launcher ARGUMENT…` to its end. */
  launch(args?: readonly string[], options?: LaunchOptions): LaunchResult;
  /** Runs a shell script as the first process of the container, in the stage1 root; `launcher` is on its PATH. */
  script(text: string, options?: LaunchOptions): LaunchResult;
}

export interface LaunchOptions {
  env?: Record<string, string>;
  input?: string;
  /** With a terminal on the standard streams, as stage 1 has it. */
  terminal?: boolean;
}

/** Guards the recursive removal. */
const MARKER = ".rkt-stage1-root";

const BUSYBOX = "/bin/busybox";

let compiled: Promise<string> | undefined;

/** Compiles the executable of the stage1 images as the build does, once per test file. */
function executable(): Promise<string> {
  compiled ??= (async () => {
    const directory = mkdtempSync(join(tmpdir(), "rkt-launcher-"));
    process.once("exit", () => rmSync(directory, { recursive: true }));
    const output = join(directory, "stage1");
    await stage1Executable(await bundlePrograms(directory), output);
    return output;
  })();
  return compiled;
}

const DIRECTORIES = ["bin", "dev", "proc", "sys", "tmp", "old", "lib/x86_64-linux-gnu", "lib64", "usr/lib/rkt"];

/** Does nspawn's work: sets up the root and enters it. `$1` is the root; the other arguments are run in it. */
const ENTER = `
set -e
root=$1
shift
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount --bind /lib/x86_64-linux-gnu lib/x86_64-linux-gnu
mount --bind /lib64/ld-linux-x86-64.so.2 lib64/ld-linux-x86-64.so.2
mount --bind "$RUNTIME" .${STAGE1.runtime}
mount -o remount,bind,ro .${STAGE1.runtime}
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
  : >dev/$name
  mount --bind /dev/$name dev/$name
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
if tty=$(tty); then
  : >rkt/terminal
  mount --bind "$tty" rkt/terminal
fi
for source in "$root".volumes/*; do
  [ -e "$source" ] || continue
  target=rkt/host-volumes/\${source##*/}
  if [ -d "$source" ]; then mkdir -p "$target"; else : >"$target"; fi
  mount --rbind "$source" "$target"
done
pivot_root . old
# Shared, as systemd makes it.
exec ${BUSYBOX} sh -c 'umount -l /old; mount --make-rshared /; exec "$@"' sh "$@"
`;

/** Makes a root whose apps are busybox. It is removed after the test. The files in `volumes` are the host volumes. */
export async function makeStage1Root(
  t: TestContext,
  settings: ContainerSettings = {},
): Promise<Stage1Root & { volumes: string }> {
  const runtime = await executable();
  const base = mkdtempSync(join(tmpdir(), "rkt-stage1-"));
  writeFileSync(join(base, MARKER), "");
  t.after(() => {
    assert.ok(existsSync(join(base, MARKER)), "refusing to remove a directory that is not a test's");
    rmSync(base, { recursive: true });
  });
  // The layout of a container, whose stage1 root this is.
  const here = containerLayout(base);
  const path = (inStage1: string): string => here.inStage1(inStage1);
  const volumes = `${here.stage1Rootfs}.volumes`;
  for (const directory of DIRECTORIES) mkdirSync(path(directory), { recursive: true });
  for (const directory of [STAGE1.status, STAGE1.volumes, STAGE1.stdio, STAGE1.hostVolumes, STAGE1.etc])
    mkdirSync(path(directory), { recursive: true });
  mkdirSync(volumes);
  for (const file of ["lib64/ld-linux-x86-64.so.2", STAGE1.runtime]) writeFileSync(path(file), "");
  copyFileSync(BUSYBOX, path(BUSYBOX));
  writeFileSync(path(STAGE1.exec), execHelper(), { mode: 0o755 });
  symlinkSync(basename(STAGE1.runtime), path(STAGE1.launcher));

  let manifest: PodManifest | undefined;
  const configure = (next: ContainerSettings): void => {
    manifest = podManifest(next);
    writeFileSync(path(STAGE1.manifest), formatPodManifest(manifest));
    for (const dir of appDirs(manifest.apps).values()) busyboxRoot(here.appRootfs(dir));
  };
  configure(settings);

  const script = (text: string, options: LaunchOptions = {}): LaunchResult => {
    const command = [
      "unshare",
      "--mount",
      "--pid",
      "--ipc",
      "--uts",
      "--fork",
      "--kill-child",
      "sh",
      "-c",
      ENTER,
      "sh",
    ];
    const inside = [here.stage1Rootfs, BUSYBOX, "sh", "-c", text];
    const argv = [...command, ...inside];
    const [file = "", ...args] =
      options.terminal === true ? ["script", "-qec", argv.map(quote).join(" "), "/dev/null"] : argv;
    const done = spawnSync(file, args, {
      input: options.input ?? "",
      env: { PATH: `/usr/lib/rkt:${process.env["PATH"]}`, RUNTIME: runtime, ...options.env },
      timeout: 60_000,
      killSignal: "SIGKILL",
      encoding: "utf8",
      maxBuffer: 64 * 1024 * 1024,
    });
    return { status: done.status, stdout: done.stdout, stderr: done.stderr };
  };

  return {
    volumes,
    path,
    inApp(inside, app = "app") {
      const dir = appDirs(manifest?.apps ?? []).get(app);
      assert.ok(dir !== undefined, `no app ${app}`);
      return join(here.appRootfs(dir), inside);
    },
    configure,
    // As a child of the first process, which keeps its own rights.
    launch: (args = ["app"], options = {}) => script(`launcher ${args.map(quote).join(" ")}; exit $?`, options),
    script,
  };
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function podManifest(settings: ContainerSettings): PodManifest {
  const apps = (settings.apps ?? [{}]).map(
    ({ app, ...runtime }, i): RuntimeApp => ({
      name: "app",
      image: { id: `sha512-${String(i).padStart(128, "0")}`, labels: [] },
      readOnlyRootFS: false,
      mounts: [],
      annotations: [],
      ...runtime,
      app: { ...bareApp(["/bin/true"]), ...app },
    }),
  );
  return {
    acVersion: "0.8.11",
    acKind: "PodManifest",
    apps,
    volumes: settings.volumes ?? [],
    isolators: [],
    annotations: [{ name: ANNOTATIONS.layoutVersion, value: LAYOUT_VERSION }, ...(settings.annotations ?? [])],
    ports: [],
    userAnnotations: {},
    userLabels: {},
  };
}

/** Makes a root with busybox's commands in /bin, and nothing else. */
function busyboxRoot(rootfs: string): void {
  if (existsSync(rootfs)) return;
  mkdirSync(join(rootfs, "bin"), { recursive: true });
  copyFileSync(BUSYBOX, join(rootfs, BUSYBOX));
  const commands = execFileSync(BUSYBOX, ["--list"], { encoding: "utf8" }).trim().split("\n");
  for (const command of commands) if (command !== "busybox") symlinkSync("busybox", join(rootfs, "bin", command));
}
