/**
 * What the kernel has one table of for all containers: no container may take so much of it that others go without. The
 * table in docs/operate/security.md says the bound of each.
 */

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { exampleAci, finished, makeRkt, type Rkt, requires, rktBinary, scratchFile } from "../helpers/rkt.ts";

function hoardImage(rkt: Rkt): string {
  const program = join(rkt.scratch, "hoard");
  execFileSync("gcc", ["-static", "-O1", "-o", program, join(import.meta.dirname, "../fixtures/hoard.c")]);
  const app = { exec: ["/hoard"], user: "0", group: "0" };
  const entry: Entry = { name: "rootfs/hoard", data: readFileSync(program), mode: 0o755 };
  return scratchFile(rkt, "hoard.aci", makeAci([entry], manifest({ name: "example.com/hoard", app })));
}

interface Table {
  kind: string;
  options: string[];
  global?: string;
  /** What it gets, and why no more. */
  said: RegExp;
}

const USERS = ["--private-users"];
const tables: Table[] = [
  { kind: "pty", options: [], said: /^pty: 1024, then ENOSPC$/ },
  { kind: "pty", options: USERS, said: /^pty: 1024, then ENOSPC$/ },
  { kind: "mqueue", options: [], said: /^mqueue: (?:\d{1,3}), then (?:ENOSPC|EMFILE|ENOENT|ENOSYS|EACCES)$/ },
  // systemd has some of the 1024.
  { kind: "inotify", options: USERS, said: /^inotify: 10[012]\d, then EMFILE$/ },
  { kind: "watches", options: USERS, said: /^watches: 65[45]\d\d, then ENOSPC$/ },
  {
    kind: "userns",
    options: USERS,
    global: "--insecure-options=image,seccomp",
    said: /^userns: \d{1,3}, then (?:ENOSPC|EUSERS|EPERM)$/,
  },
];

const ready = (t: TestContext) => requires(t, "root", "build", "gcc");

for (const { kind, options, global = "--insecure-options=image", said } of tables)
  test(`${[kind, ...options].join(" ")}: a container gets no more than its share, and another starts beside it`, async (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const hoarder = ["run", ...options, hoardImage(rkt), "--", kind, "1000"];
    const child = rkt.start([global, ...hoarder], { stdio: ["ignore", "pipe", "pipe"] });
    const done = finished(child);
    const line = await new Promise<string>((resolve) => {
      child.stdout?.once("data", (chunk: Buffer) => resolve(chunk.toString().trim()));
      void done.then(({ stderr }) => resolve(stderr));
    });
    assert.match(line, said);
    for (const beside of [[], USERS]) {
      const words = ["run", ...beside, exampleAci("busybox"), "--exec=/bin/echo", "--", "beside"];
      assert.equal(rkt.ok(words).stdout, "beside\n");
    }
    child.kill("SIGTERM");
    await done;
  });

const POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

test("hugepages: a container has none, but by a volume of them", (t) => {
  if (!ready(t) || !requires(t, "unshare")) return;
  if (existsSync("/sys/fs/cgroup/cgroup.procs")) return t.skip("cgroup v2 alone: test/guest/cgroup-v2.sh");
  const rkt = makeRkt(t);
  const before = readFileSync(POOL, "utf8");
  t.after(() => writeFileSync(POOL, before));
  writeFileSync(POOL, String(Number(before) + 4));
  const pages = join(rkt.scratch, "pages");
  mkdirSync(pages);
  // Where the host has not mounted the controller: as a hierarchy of v1 that nobody else sees.
  const cgroup = "/sys/fs/cgroup/hugetlb";
  if (!existsSync(cgroup)) t.after(() => rmdirSync(cgroup));
  mkdirSync(cgroup, { recursive: true });
  const host = `mountpoint -q "$1" || mount -t cgroup -o hugetlb hugetlb "$1"
mount -t hugetlbfs hugetlbfs "$2" && shift 2 && "$@"`;
  const image = hoardImage(rkt);
  const said = (options: string[], ofImage: string[]): string => {
    const run = [rktBinary, `--dir=${rkt.dir}`, "--insecure-options=image", "run", ...options, image, ...ofImage];
    const words = [...run, "--", "hugepages", "0"].map((word) => `'${word}'`).join(" ");
    const both = `${words}; '${rktBinary}' '--dir=${rkt.dir}' gc --grace-period=0 >&2`;
    const argv = ["--mount", "sh", "-c", host, "sh", cgroup, pages, "sh", "-c", both];
    const { stdout, stderr } = spawnSync("unshare", argv, { encoding: "utf8", timeout: 60_000 });
    assert.match(stdout, /^hugepages: /, stderr);
    return stdout;
  };
  for (const options of [[], USERS]) assert.equal(said(options, []), "hugepages: 0, then ENOMEM\n");
  const volume = [`--volume=pages,kind=host,source=${pages}`];
  assert.match(said(volume, ["--mount=volume=pages,target=/pages"]), /^hugepages: [1-9]\d*, then ENOMEM\n$/);
});
