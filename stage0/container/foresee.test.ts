import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import { hostPath } from "../../shared/contract/paths.ts";
import { bareApp } from "../../shared/schema/image-manifest.ts";
import type { App, PodManifest } from "../../shared/schema/types.ts";
import { mkfifo } from "../../shared/syscall/file.ts";
import { foresee } from "./foresee.ts";

/** A file's text, a program, a link, or what else a path can be. */
type Thing = string | { link: string } | "directory" | "fifo" | "program" | "sparse";

const TREE: Record<string, Thing> = {
  "/bin/app": "program",
  "/bin/text": "text",
  "/bin/link": { link: "/usr/bin/../../bin/app" },
  "/bin/dangling": { link: "/bin/nothing" },
  "/usr/bin": "directory",
  "/srv/files/one": "x",
  "/srv/empty": "directory",
  "/srv/loop": { link: "loop" },
  "/srv/up": { link: "../../../../../.." },
  "/etc/passwd": "root:x:0:0::/:/bin/sh\nweb:x:7:7::/:/bin/sh\n",
  "/etc/group": "www:x:8:\n",
};

function makeTree(t: TestContext, things: Record<string, Thing>): string {
  const root = mkdtempSync(join(tmpdir(), "rkt-foresee-"));
  t.after(() => rmSync(root, { recursive: true }));
  for (const [name, thing] of Object.entries(things)) {
    const path = join(root, name);
    mkdirSync(dirname(path), { recursive: true });
    if (typeof thing === "object") symlinkSync(thing.link, path);
    else if (thing === "directory") mkdirSync(path, { recursive: true });
    else if (thing === "fifo") mkfifo(path, 0o644);
    else writeFileSync(path, thing);
    if (thing === "program") chmodSync(path, 0o755);
    if (thing === "sparse") truncateSync(path, 2 ** 40);
  }
  return root;
}

interface Case {
  name: string;
  things?: Record<string, Thing>;
  app?: Partial<App>;
  /** Where volumes are mounted, called v0, v1, …. */
  mounts?: string[];
  /** What stops it. */
  problem?: string;
  hint?: string;
  notes?: string[];
}

const HINTS = {
  user: "--user after the image, or the pod manifest, names another user: a name, a number, or a file whose owner it is",
  exec: "--exec after the image, or the pod manifest, names another program",
};
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const handler = (name: "pre-start" | "post-stop") => ({ eventHandlers: [{ name, exec: ["/bin/app"] }] });

const cases: Case[] = [
  { name: "nothing to say" },

  // users and groups
  { name: "a user and a group by name", app: { user: "web", group: "www" } },
  {
    name: "numbers need no files",
    things: { "/bin/app": "program", "/etc/passwd": "fifo" },
    app: { user: "7", group: "8" },
  },
  { name: "root needs none either", things: { "/bin/app": "program" }, app: { user: "root", group: "root" } },
  { name: "the owner of a file", app: { user: "/srv/up/bin/link", group: "/srv/files" } },
  {
    name: "an unknown user",
    app: { user: "nosuch" },
    problem: `user "nosuch" is not in the image's /etc/passwd`,
    hint: HINTS.user,
  },
  {
    name: "an unknown user of an image without /etc",
    things: { "/bin/app": "program" },
    app: { user: "web" },
    problem: `user "web" is not in the image's /etc/passwd`,
  },
  { name: "an unknown group", app: { group: "web" }, problem: `group "web" is not in the image's /etc/group` },
  {
    name: "the owner of a file that is not there",
    app: { user: "/nosuch" },
    problem: "cannot take the user from the owner of /nosuch: it does not exist in the image",
  },
  {
    name: "the group of a file on a way that is no directory",
    app: { group: "/bin/text/x" },
    problem: "cannot take the group from the owner of /bin/text/x: a part of its path is not a directory",
  },
  {
    name: "a FIFO for /etc/passwd",
    things: { "/bin/app": "program", "/etc/passwd": "fifo" },
    app: { user: "web" },
    problem: "the image's /etc/passwd is not a regular file",
  },
  {
    name: "a loop for /etc/passwd",
    things: { "/bin/app": "program", "/etc/passwd": { link: "passwd" } },
    app: { user: "web" },
    problem: "the image's /etc/passwd cannot be opened: ELOOP",
  },
  {
    name: "a terabyte for /etc/group",
    things: { "/bin/app": "program", "/etc/group": "sparse" },
    app: { group: "www" },
    problem: "the image's /etc/group is larger than 1048576 bytes",
  },
  {
    name: "a link to a file of the host's for /etc/passwd",
    things: { "/bin/app": "program", "/etc/passwd": { link: "/etc/debian_version" } },
    app: { user: "daemon" },
    problem: `user "daemon" is not in the image's /etc/passwd`,
  },
  {
    name: "a link into the kernel's file systems for /etc/passwd",
    things: { "/bin/app": "program", "/etc/passwd": { link: "/proc/1/environ" } },
    app: { user: "nosuch" },
  },
  { name: "a volume on /etc", app: { user: "nosuch", group: "nosuch" }, mounts: ["/etc"], notes: ["v0 /etc"] },
  { name: "a volume on /etc/passwd", app: { user: "nosuch" }, mounts: ["/etc/passwd"], notes: ["v0 /etc/passwd"] },

  // working directories
  { name: "a working directory by a link upwards", app: { workingDirectory: "/srv/up/srv/empty" } },
  {
    name: "a working directory that is missing",
    app: { workingDirectory: "/srv/nothing" },
    problem: 'cannot enter working directory "/srv/nothing": it does not exist in the image',
    hint: "--working-dir after the image, or the pod manifest, names another directory",
  },
  {
    name: "a working directory that is a file",
    app: { workingDirectory: "/bin/app" },
    problem: 'cannot enter working directory "/bin/app": it is not a directory',
  },
  {
    name: "a working directory that is a loop",
    app: { workingDirectory: "/srv/loop/x" },
    problem: 'cannot enter working directory "/srv/loop/x": its path has too many symbolic links, or a loop of them',
  },
  { name: "a working directory that the launcher makes", app: { workingDirectory: "/tmp" } },
  {
    name: "a working directory in the one that the launcher makes",
    app: { workingDirectory: "/tmp/x" },
    problem: 'cannot enter working directory "/tmp/x": it does not exist in the image',
  },
  {
    name: "a working directory that the launcher makes by a link",
    things: { "/bin/app": "program", "/tmp": { link: "var/tmp" }, "/etc": { link: "/usr/etc" } },
    app: { workingDirectory: "/var/tmp", exec: ["/usr/etc/hosts"] },
  },
  { name: "a working directory of the kernel's", app: { workingDirectory: "/proc/1" } },
  { name: "a working directory in a volume", app: { workingDirectory: "/data/x" }, mounts: ["/data"] },
  { name: "a working directory that is made for a volume", app: { workingDirectory: "/a" }, mounts: ["/a/b/c"] },
  {
    name: "a working directory beside a volume",
    app: { workingDirectory: "/a/x" },
    mounts: ["/a/b/c"],
    problem: 'cannot enter working directory "/a/x": it does not exist in the image',
  },
  {
    name: "a working directory behind a link that lies in a volume",
    things: { "/bin/app": "program", "/data/way": { link: "/elsewhere" } },
    app: { workingDirectory: "/data/way" },
    mounts: ["/data"],
    notes: ["v0 /data"],
  },
  {
    name: "a working directory in a volume whose target is a link",
    things: { "/bin/app": "program", "/data": { link: "/srv/deep" } },
    app: { workingDirectory: "/srv/deep/x" },
    mounts: ["/data"],
  },
  {
    name: "a volume in a volume, which a link may lead anywhere",
    app: { workingDirectory: "/nothing" },
    mounts: ["/data", "/data/deep"],
  },

  // programs
  { name: "a program by a link", app: { exec: ["/bin/link"] } },
  { name: "a program found in PATH", app: { exec: ["app"] } },
  {
    name: "a program found in the app's own PATH, which is relative",
    app: {
      exec: ["app"],
      workingDirectory: "/usr",
      environment: [
        { name: "PATH", value: "/nowhere" },
        { name: "PATH", value: "/x:../bin" },
      ],
    },
  },
  { name: "a program relative to the working directory", app: { exec: ["../bin/app"], workingDirectory: "/srv" } },
  {
    name: "a program that is missing",
    app: { exec: ["/bin/nothing"] },
    problem: 'cannot execute "/bin/nothing": it does not exist in the image',
    hint: HINTS.exec,
  },
  {
    name: "a program behind a dangling link",
    app: { exec: ["/bin/dangling"] },
    problem: 'cannot execute "/bin/dangling": it does not exist in the image',
  },
  {
    name: "a program that is a directory",
    app: { exec: ["/etc"] },
    problem: 'cannot execute "/etc": it is a directory',
  },
  {
    name: "a program that is a FIFO",
    things: { "/app": "fifo" },
    app: { exec: ["/app"] },
    problem: 'cannot execute "/app": it is not a regular file',
  },
  {
    name: "a program without a mode for it",
    app: { exec: ["/bin/text"] },
    problem: 'cannot execute "/bin/text": it is not executable (mode 0644)',
  },
  {
    name: "a name that is nowhere",
    app: { exec: ["nothing"] },
    problem: `cannot execute "nothing": not found in PATH (${PATH})`,
  },
  {
    name: "a name that is no program anywhere",
    app: { exec: ["text"] },
    problem: 'cannot execute "/bin/text": it is not executable (mode 0644)',
  },
  { name: "a name that may be in a volume", app: { exec: ["nothing"] }, mounts: ["/usr/local/bin"] },
  { name: "a program of the kernel's file systems", app: { exec: ["/proc/self/exe"] } },

  // handlers
  { name: "a pre-start handler may make what is missing", app: { user: "nosuch", ...handler("pre-start") } },
  {
    name: "a post-stop handler may not",
    app: { user: "nosuch", ...handler("post-stop") },
    problem: `user "nosuch" is not in the image's /etc/passwd`,
  },

  // what volumes hide
  {
    name: "directories with something in them and files are hidden, others not",
    mounts: ["/srv/files", "/srv/empty", "/bin//text", "/new"],
    notes: ["v0 /srv/files", "v2 /bin/text"],
  },
  { name: "within another volume nothing is hidden again", mounts: ["/srv", "/srv/files"], notes: ["v0 /srv"] },
  {
    name: "the kernel's file systems hide it already",
    things: { "/bin/app": "program", "/dev/x": "x" },
    mounts: ["/dev/x"],
  },
];

for (const { name, things = TREE, app, mounts = [], problem, hint, notes = [] } of cases)
  test(name, { timeout: 10_000 }, (t) => {
    const root = makeTree(t, things);
    const manifest: PodManifest = {
      acVersion: "0.8.11",
      acKind: "PodManifest",
      apps: [
        {
          name: "x",
          image: { id: `sha512-${"0".repeat(128)}`, labels: [] },
          app: { ...bareApp(["/bin/app"]), ...app },
          readOnlyRootFS: false,
          mounts: mounts.map((path, i) => ({ volume: `v${i}`, path })),
          annotations: [],
        },
      ],
      volumes: [],
      isolators: [],
      annotations: [],
      ports: [],
      userAnnotations: {},
      userLabels: {},
    };
    const run = () => foresee(manifest, () => hostPath(root));
    if (problem === undefined) {
      const told = notes.map((note) => note.split(" "));
      assert.deepEqual(
        run(),
        told.map(([volume, path]) => `app x: volume "${volume}" hides what the image has at ${path}`),
      );
      return;
    }
    assert.throws(run, (error: unknown) => {
      assert.ok(error instanceof RktError, String(error));
      assert.deepEqual([error.message, error.exitCode], [`app x: ${problem}`, 254]);
      if (hint !== undefined) assert.equal(error.hint, hint);
      return true;
    });
  });

const apps = (...list: { name: string; exec: string; mounts?: string[] }[]): PodManifest => ({
  acVersion: "0.8.11",
  acKind: "PodManifest",
  apps: list.map(({ name, exec, mounts = [] }) => ({
    name,
    image: { id: `sha512-${"0".repeat(128)}`, labels: [] },
    app: bareApp([exec]),
    readOnlyRootFS: false,
    mounts: mounts.map((path) => ({ volume: "v", path })),
    annotations: [],
  })),
  volumes: [],
  isolators: [],
  annotations: [],
  ports: [],
  userAnnotations: {},
  userLabels: {},
});

test("a volume that begins as what an app's image has hides nothing of that app's", (t) => {
  const root = makeTree(t, TREE);
  const two = ["one", "two"].map((name) => ({ name, exec: "/bin/app", mounts: ["/srv/files"] }));
  assert.deepEqual(
    foresee(apps(...two), () => hostPath(root), new Map([["v", "one"]])),
    ['app two: volume "v" hides what the image has at /srv/files'],
  );
});

test("systemd as an app is told to end at once, by whatever link it is called", (t) => {
  const root = makeTree(t, { ...TREE, "/lib/systemd/systemd": "program", "/sbin/init": { link: "../lib/systemd/systemd" } });
  for (const exec of ["/sbin/init", "/lib/systemd/systemd"]) {
    const [note = "", ...others] = foresee(apps({ name: "os", exec }), () => hostPath(root));
    assert.deepEqual(others, []);
    assert.match(note, /^warning: app os: its program is systemd, .* will end at once/);
  }
});
