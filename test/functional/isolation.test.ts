/** What an app may do, told by programs inside: system calls, capabilities, paths, and ways out. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { DEFAULT_CAPABILITIES } from "../../shared/schema/capabilities.ts";
import { defaultFilter } from "../../shared/seccomp.ts";
import { filterProgram } from "../../shared/seccomp-program.ts";
import { systemCallNumbers } from "../../shared/system-call-numbers.ts";
import { I386, runFilter, X86_64 } from "../helpers/bpf.ts";
import { runs32Bit } from "../helpers/kernel.ts";
import { compileAttack } from "../helpers/attack.ts";
import { dist, exampleAci, makeRkt, requires, type Rkt, scratchFile, sh } from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");

for (const [flavor, options] of [
  ["nspawn", []],
  ["fly", [`--stage1-path=${join(dist, "stage1-fly.aci")}`]],
] as const)
  test(`${flavor}: a volume from below /dev has devices only if it is of the file system of devices`, (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const shared = mkdtempSync("/dev/shm/rkt-volume-");
    t.after(() => rmSync(shared, { recursive: true }));
    const volumes = [`--volume=shared,kind=host,source=${shared}`, "--volume=null,kind=host,source=/dev/null"];
    const mounts = ["--mount=volume=shared,target=/shared", "--mount=volume=null,target=/null"];
    const script = "mknod /shared/null c 1 3; (echo x >/shared/null) 2>&1; echo x >/null && echo a device";
    const words = ["run", ...options, ...volumes, busybox, ...mounts, "--exec=/bin/sh", "--", "-c", script];
    assert.equal(rkt.ok(words).stdout, "/bin/sh: can't create /shared/null: Permission denied\na device\n");
  });

test("beside another app one leaves no core, whose memory that could read", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const limit = (name: string, ...more: string[]) => [
    busybox,
    `--name=${name}`,
    ...more,
    "--exec=/bin/sh",
    "--",
    "-c",
    "echo $AC_APP_NAME $(grep core /proc/self/limits)",
  ];
  const { stdout } = rkt.ok(["run", ...limit("a"), "---", ...limit("b", "--ulimit=core=4096:8192")]);
  assert.match(stdout, /^a Max core file size 0 0 bytes$/m);
  assert.match(stdout, /^b Max core file size 4096 8192 bytes$/m);
  assert.doesNotMatch(rkt.ok(["run", ...limit("alone")]).stdout, /size 0 0 /);
});

// --- ways out ----------------------------------------------------------------------------

/** An image of nothing but the program that tries to get out; `secret` is a file of the host's. */
function escapeImage(rkt: Rkt): string {
  const program = join(rkt.scratch, "escape");
  execFileSync("gcc", ["-static", "-o", program, join(import.meta.dirname, "../fixtures/escape.c")]);
  const secret = scratchFile(rkt, "secret", "of the host's");
  // Files of the host, of stage 1, and of the container directory.
  const exec = ["/escape", secret, "/usr/lib/rkt/launcher", "/rkt/container", "/stage1/rootfs/init"];
  const text = manifest({ name: "example.com/escape", app: { exec, user: "0", group: "0" } });
  const entry: Entry = { name: "rootfs/escape", data: readFileSync(program), mode: 0o755 };
  return scratchFile(rkt, "escape.aci", makeAci([entry], text));
}

function attempts(
  rkt: Rkt,
  options: readonly string[],
  image: string,
  after: readonly string[] = [],
): Map<string, string> {
  const { stdout } = rkt.ok([...options, "run", image, ...after]);
  return new Map(
    stdout
      .trim()
      .split("\n")
      .map((line) => line.split(": ") as [string, string]),
  );
}

/** What holds without a system call filter: capabilities and mounts alone keep an app in. */
const KEPT_IN: Record<string, string> = {
  "as it starts": "EBADF",
  // It may chroot(2), and where it climbs to is its own root.
  "chroot and ..": "done",
  "links of processes": "EACCES",
  "device nodes": "EACCES",
  "mount tmpfs": "EPERM",
  "mount proc": "EPERM",
  remount: "EPERM",
  umount: "EPERM",
  fsopen: "EPERM",
  open_tree: "EPERM",
  pivot_root: "EPERM",
  "unshare mounts": "EPERM",
  "setns first process": "EACCES",
  setns: "EPERM",
  open_by_handle_at: "EPERM",
  ptrace: "EPERM",
  process_vm_readv: "EPERM",
  core_pattern: "EROFS",
  hostname: "EROFS",
  cgroup: "EROFS",
  "chmod of a device": "EROFS",
  bpf: "EPERM",
};

/** What the filter takes away besides. */
const FILTERED: Record<string, string> = {
  // Where the kernel runs no 32-bit programs, the interrupt is none.
  "mount, int 0x80": runs32Bit() ? "EPERM" : "SIGSEGV",
  "mount, x32": "SIGSYS",
  "unshare user": "EPERM",
  "clone user": "EPERM",
  "clone3 user": "ENOSYS",
  TIOCSTI: "EPERM",
  "TIOCSTI, high bits": "EPERM",
  add_key: "EPERM",
  init_module: "EPERM",
  kexec_load: "EPERM",
  iopl: "EPERM",
  io_uring: "EPERM",
};

test("root in an app reaches neither stage 1 nor the host", (t) => {
  if (!requires(t, "root", "build", "gcc")) return;
  const rkt = makeRkt(t);
  const image = escapeImage(rkt);
  assert.deepEqual(Object.fromEntries(attempts(rkt, [], image)), { ...KEPT_IN, ...FILTERED });

  const unfiltered = attempts(rkt, ["--insecure-options=seccomp"], image);
  for (const [attempt, result] of Object.entries(KEPT_IN)) assert.equal(unfiltered.get(attempt), result, attempt);
  // The attempt itself works where nothing is in the way.
  for (const attempt of ["unshare user", "TIOCSTI"]) assert.notEqual(unfiltered.get(attempt), "EPERM", attempt);

  // CAP_SYS_ADMIN alone is not enough; without the filter it is asked for, and had.
  const admin = ["--caps-retain=CAP_SYS_ADMIN,CAP_SYS_CHROOT"];
  assert.equal(attempts(rkt, [], image, admin).get("mount tmpfs"), "EPERM");
  assert.equal(attempts(rkt, ["--insecure-options=seccomp"], image, admin).get("mount tmpfs"), "done");

  // As another user there is less still.
  const user = attempts(rkt, [], image, ["--user=1000", "--group=1000"]);
  assert.equal(user.get("chroot and .."), "EPERM");
  for (const [attempt, result] of [...unfiltered, ...user]) assert.notEqual(result, "REACHED", attempt);
});

test("likewise with users of the container's own, with every capability and without a filter", (t) => {
  if (!requires(t, "root", "build", "gcc")) return;
  const rkt = makeRkt(t);
  const image = escapeImage(rkt);
  const run = (options: string, ...after: string[]) => {
    const { stdout } = rkt.ok([options, "run", "--private-users", image, ...after]);
    return Object.fromEntries(
      stdout
        .trim()
        .split("\n")
        .map((line) => line.split(": ")),
    );
  };
  // Without them these fail for another reason: the kernel's own, whoever asks.
  const own = { "device nodes": "EPERM", core_pattern: "EACCES", hostname: "EACCES" };
  assert.deepEqual(run("--insecure-options=image"), { ...KEPT_IN, ...own, ...FILTERED });
  const admin = run("--insecure-options=image,seccomp", "--caps-retain=CAP_SYS_ADMIN,CAP_SYS_CHROOT,CAP_MKNOD");
  assert.equal(admin["mount tmpfs"], "done");
  for (const [attempt, result] of Object.entries({ "device nodes": "EPERM", bpf: "EPERM", core_pattern: "EACCES" }))
    assert.equal(admin[attempt], result, attempt);
  for (const [attempt, result] of Object.entries(admin)) assert.notEqual(result, "REACHED", attempt);
});

// --- every number of a system call ----------------------------------------------------------

/** Of those that the filter lets pass, the ones that the kernel refuses for these arguments. */
const KERNELS_OWN = ["64 brk", "64 landlock_restrict_self", "64 setsid", "32 brk", "32 landlock_restrict_self", "32 nice", "32 setsid"];

function walk(rkt: Rkt, options: readonly string[], after: readonly string[]): string[] {
  const text = manifest({ app: { exec: ["/attack", "walk"], user: "0", group: "0" } });
  const entry: Entry = { name: "rootfs/attack", data: compileAttack(rkt.scratch), mode: 0o755 };
  const file = scratchFile(rkt, "walk.aci", makeAci([entry], text));
  return rkt.ok(["run", ...options, file, ...after]).stdout.trim().split("\n");
}

const walks: { name: string; options?: string[]; more?: string[] }[] = [
  { name: "an app that asks for nothing" },
  // Not even that gives it calls which make root on the host of it.
  { name: "with CAP_SYS_ADMIN", more: ["CAP_SYS_ADMIN"] },
  { name: "with users of the container's own", options: ["--private-users"] },
  { name: "with CAP_SYS_PTRACE", more: ["CAP_SYS_PTRACE"] },
];

test("every number of a system call, 64-bit and 32-bit, answers what its table says", async (t) => {
  if (!requires(t, "root", "build", "gcc")) return;
  const rkt = makeRkt(t);
  for (const { name, options = [], more = [] } of walks)
    await t.test(name, () => {
      const program = filterProgram(defaultFilter(more));
      const retained = more.length === 0 ? [] : [`--caps-retain=${[...DEFAULT_CAPABILITIES, ...more].join()}`];
      const lines = walk(rkt, options, retained).filter((line) => runs32Bit() || line.startsWith("64"));
      assert.equal(lines.length, runs32Bit() ? 2048 : 1024);
      for (const line of lines) {
        const [bits, number, answer = ""] = line.split(" ");
        const machine = bits === "64" ? X86_64 : I386;
        const numbers = systemCallNumbers(bits === "64" ? "x86_64" : "i386");
        const call = [...numbers].find(([, its]) => its === Number(number))?.[0];
        const wanted = runFilter(program, { machine, number: Number(number), low: Array(6).fill(0xffffffff) });
        if (wanted !== "allow") assert.equal(answer, wanted, `${line} (${call})`);
        else if (!KERNELS_OWN.includes(`${bits} ${call}`)) assert.notEqual(answer, "EPERM", `${line} (${call})`);
      }
    });
});

// --- system calls -------------------------------------------------------------------------

interface Case {
  name: string;
  /** Before `run`, and after the image. */
  before?: string[];
  after?: string[];
  isolators?: object[];
  user?: string;
  script: string;
  out: string;
  status?: number;
}

const seccomp = (mode: "retain" | "remove", value: object) => ({ name: `os/linux/seccomp-${mode}-set`, value });

const SECCOMP_STATUS = "grep -c '^Seccomp:.2' /proc/self/status";
const MKDIR = "mkdir /x 2>&1; echo $?";
const cases: Case[] = [
  { name: "a filter by default", script: SECCOMP_STATUS, out: "1\n" },
  {
    name: "no filter by name",
    before: ["--insecure-options=seccomp"],
    script: `${SECCOMP_STATUS} || true`,
    out: "0\n",
  },
  {
    name: "@appc.io/all opts out",
    isolators: [seccomp("retain", { set: ["@appc.io/all"] })],
    script: `${SECCOMP_STATUS} || true`,
    out: "0\n",
  },
  {
    name: "remove-set with an errno",
    isolators: [seccomp("remove", { set: ["mkdir"], errno: "ENOTSUP" })],
    script: MKDIR,
    out: "mkdir: can't create directory '/x': Operation not supported\n1\n",
  },
  {
    name: "remove-set without: the program dies of SIGSYS, alone",
    isolators: [seccomp("remove", { set: ["mkdir"] })],
    script: MKDIR,
    out: "Bad system call\n159\n",
  },
  {
    name: "the app itself",
    after: ["--seccomp=mode=remove,mkdir"],
    script: "exec mkdir /x",
    out: "",
    status: 159,
  },
  {
    name: "the end of a program, by name",
    isolators: [seccomp("remove", { set: ["exit", "exit_group"] })],
    script: "echo up",
    out: "up\n",
    status: 159,
  },
  {
    name: "and the return from a signal handler",
    after: ["--seccomp=mode=remove,rt_sigreturn"],
    script: "trap 'echo trapped' USR1; kill -USR1 $$; echo back",
    out: "",
    status: 159,
  },
  {
    name: "--seccomp replaces what the image says, retain or remove",
    isolators: [seccomp("retain", { set: ["read"] })],
    after: ["--seccomp=mode=remove,errno=EROFS,mkdir"],
    script: MKDIR,
    out: "mkdir: can't create directory '/x': Read-only file system\n1\n",
  },
  {
    name: "retain-set with a default list: an ordinary life",
    isolators: [seccomp("retain", { set: ["@rkt/default-whitelist"] })],
    script: "mkdir /x && ls -d /x | cat; unshare -m true 2>&1; echo $?",
    out: "/x\nBad system call\n159\n",
  },
  {
    name: "retain-set with an errno, and Docker's list",
    isolators: [seccomp("retain", { set: ["@docker/default-whitelist"], errno: "ENOSYS" })],
    script: "unshare -m true 2>&1",
    out: "unshare: unshare(0x20000): Function not implemented\n",
    status: 1,
  },
  {
    name: "remove-set with Docker's list",
    isolators: [seccomp("remove", { set: ["@docker/default-blacklist", "mkdir"], errno: "EPERM" })],
    script: `${MKDIR}; unshare -U true 2>&1`,
    out: "mkdir: can't create directory '/x': Operation not permitted\n1\nunshare: unshare(0x10000000): Operation not permitted\n",
    status: 1,
  },
  {
    name: "for an ordinary user, who keeps no capability that a filter takes to load",
    user: "1000",
    script: `${SECCOMP_STATUS}; grep -E '^(CapPrm|CapEff|NoNewPrivs)' /proc/self/status`,
    out: "1\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nNoNewPrivs:\t0\n",
  },
  {
    name: "for root, who keeps none either",
    isolators: [{ name: "os/linux/capabilities-retain-set", value: { set: ["CAP_CHOWN"] } }],
    script: "grep -E '^(CapPrm|CapEff|CapBnd)' /proc/self/status",
    out: "CapPrm:\t0000000000000001\nCapEff:\t0000000000000001\nCapBnd:\t0000000000000001\n",
  },
  {
    name: "no_new_privs: a set-user-ID program runs as its caller",
    isolators: [{ name: "os/linux/no-new-privileges", value: true }],
    user: "1000",
    script: "grep ^NoNewPrivs /proc/self/status; as-root",
    out: "NoNewPrivs:\t1\n1000 filter 2\n",
  },
  {
    name: "without it, as its owner, and with the filter on",
    user: "1000",
    script: "as-root",
    out: "0 filter 2\n",
  },

  {
    name: "signals as they are for a program that nobody has told anything",
    // What busybox's shell has ignored, SIGQUIT, is its own doing.
    script: "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status",
    out: "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000004\nSigCgt:\t0000000000000000\n",
  },

  // --- capabilities ---
  {
    name: "the specification's 14 capabilities",
    script: "grep ^CapEff /proc/self/status",
    out: "CapEff:\t00000000a80425fb\n",
  },
  {
    name: "remove-set",
    isolators: [{ name: "os/linux/capabilities-remove-set", value: { set: ["CAP_CHOWN", "CAP_SYS_ADMIN"] } }],
    script: "grep ^CapEff /proc/self/status; chown 1:1 /etc 2>&1",
    out: "CapEff:\t00000000a80425fa\nchown: /etc: Operation not permitted\n",
    status: 1,
  },
  {
    name: "the older names: revoke-set",
    isolators: [{ name: "os/linux/capabilities-revoke-set", value: { set: ["CAP_CHOWN"] } }],
    script: "grep ^CapBnd /proc/self/status",
    out: "CapBnd:\t00000000a80425fa\n",
  },
  {
    name: "the older names: bounding-set",
    isolators: [{ name: "capabilities/bounding-set", value: "CAP_CHOWN CAP_KILL" }],
    script: "grep ^CapBnd /proc/self/status",
    out: "CapBnd:\t0000000000000021\n",
  },
  {
    name: "--caps-retain replaces what the image removes",
    isolators: [{ name: "os/linux/capabilities-remove-set", value: { set: ["CAP_CHOWN"] } }],
    after: ["--caps-retain=CAP_CHOWN,CAP_SYS_PTRACE"],
    script: "grep ^CapEff /proc/self/status",
    out: "CapEff:\t0000000000080001\n",
  },
  {
    name: "--caps-remove",
    after: ["--caps-remove=CAP_CHOWN", "--caps-remove=CAP_DAC_OVERRIDE"],
    script: "grep ^CapEff /proc/self/status",
    out: "CapEff:\t00000000a80425f8\n",
  },
  {
    name: "--caps-remove takes from what the image retains",
    isolators: [{ name: "os/linux/capabilities-retain-set", value: { set: ["CAP_KILL", "CAP_CHOWN"] } }],
    after: ["--caps-remove=CAP_KILL"],
    script: "grep ^CapBnd /proc/self/status",
    out: "CapBnd:\t0000000000000001\n",
  },
  {
    name: "all of it",
    isolators: [{ name: "os/linux/capabilities-retain-set", value: { set: ["CAP_KILL"] } }],
    after: ["--caps-remove=CAP_KILL"],
    script: "grep ^CapBnd /proc/self/status",
    out: "CapBnd:\t0000000000000000\n",
  },
  {
    name: "all capabilities by name: what the container has",
    before: ["--insecure-options=capabilities"],
    isolators: [{ name: "os/linux/capabilities-retain-set", value: { set: ["CAP_CHOWN"] } }],
    script: "grep ^CapEff /proc/self/status | tr -d '\\n'; grep ^CapBnd /proc/1/status",
    // As the first process's.
    out: "same",
  },

  // --- memory pressure ---
  { name: "--oom-score-adj", after: ["--oom-score-adj=321"], script: "cat /proc/self/oom_score_adj", out: "321\n" },
  {
    name: "the isolator oom-score-adj, for an ordinary user",
    isolators: [{ name: "os/linux/oom-score-adj", value: 77 }],
    user: "1000",
    script: "cat /proc/self/oom_score_adj",
    out: "77\n",
  },

  // --- paths ---
  {
    name: "paths that tell about the host say nothing, those that change it are read-only",
    script: `
      for path in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do
        [ ! -e $path ] || [ -z "$(cat $path)" ] || echo "$path says something"
      done
      for path in /proc/acpi /proc/scsi /sys/firmware; do
        [ ! -e $path ] || [ -z "$(ls -A $path)" ] || echo "$path has something"
      done
      for path in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/irq/default_smp_affinity; do
        [ ! -e $path ] || ! (: >>$path) 2>/dev/null || echo "$path is writable"
      done`,
    out: "",
  },
  {
    name: "all paths by name",
    before: ["--insecure-options=paths"],
    script: '[ -n "$(cat /proc/interrupts)" ] && echo told; (: >>/proc/sys/kernel/core_pattern) && echo writable',
    out: "told\nwritable\n",
  },
  {
    name: "--readonly-rootfs",
    after: ["--readonly-rootfs"],
    script: "touch /x 2>&1; echo y >/dev/shm/y && cat /dev/shm/y",
    out: "touch: /x: Read-only file system\ny\n",
  },
];

const ROOT: readonly Entry[] = [
  { name: "rootfs/bin/busybox", data: readFileSync("/usr/bin/busybox"), mode: 0o755 },
  { name: "rootfs/etc", type: "5" },
  ...["cat", "chown", "grep", "head", "id", "ls", "mkdir", "sh", "touch", "tr", "true", "unshare"].map(
    (name): Entry => ({ name: `rootfs/bin/${name}`, type: "2", link: "busybox" }),
  ),
];

function image(rkt: Rkt, { isolators = [], user = "0", script }: Case, entries: readonly Entry[] = []): string {
  const text = manifest({ app: { exec: ["/bin/sh", "-c", script], user, group: user, isolators } });
  return scratchFile(rkt, "image.aci", makeAci([...ROOT, ...entries], text));
}

/** A set-user-ID program that says as whom it runs, and whether it is filtered. */
function setUserId(rkt: Rkt): Entry {
  const program = join(rkt.scratch, "whoami");
  const source = `#include <stdio.h>
#include <unistd.h>
#include <sys/prctl.h>
int main(void) { printf("%d filter %d\\n", geteuid(), prctl(PR_GET_SECCOMP)); }`;
  execFileSync("gcc", ["-static", "-x", "c", "-o", program, "-"], { input: source });
  return { name: "rootfs/bin/as-root", data: readFileSync(program), mode: 0o4755 };
}

test("isolators and what the command line makes of them", async (t) => {
  if (!requires(t, "root", "build", "gcc")) return;
  const rkt = makeRkt(t);
  const entries = [setUserId(rkt)];
  for (const c of cases)
    await t.test(c.name, () => {
      const file = image(rkt, c, entries);
      const { status, stdout, stderr } = rkt.run([...(c.before ?? []), "run", file, ...(c.after ?? [])]);
      assert.equal(status, c.status ?? 0, stderr);
      if (c.out === "same") assert.match(stdout, /^CapEff:\t([0-9a-f]+)CapBnd:\t\1$/m);
      else assert.equal(stdout, c.out);
    });
});


const NETWORK =
  "busybox ip link add br7 type bridge && busybox ip addr add 192.0.2.7/24 dev br7 && busybox ip link set br7 up && " +
  "busybox ip -o addr show br7 | grep -o 192.0.2.7; grep -E '^Cap(Eff|Bnd)' /proc/self/status";

test("CAP_NET_ADMIN is for the app that retains it, in a network of the container's own", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const admin = [busybox, "--name=admin", "--caps-retain=CAP_NET_ADMIN"];
  assert.equal(
    rkt.ok(["run", "--net=none", ...admin, ...sh(NETWORK)]).stdout,
    "192.0.2.7\nCapEff:\t0000000000001000\nCapBnd:\t0000000000001000\n",
  );
  // Beside it another has what it always has.
  const other = ["---", busybox, "--name=other", ...sh(NETWORK)];
  const beside = rkt.ok(["run", "--net=none", ...admin, ...sh("true"), ...other]);
  assert.equal(beside.stdout, "CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n");
  assert.match(beside.stderr, /Operation not permitted/);

  const told = (options: string[], name: string) => {
    const { stdout, stderr } = rkt.ok(["run", ...options, busybox, `--caps-retain=${name}`, ...sh(NETWORK)]);
    assert.match(stderr, new RegExp(`^rkt: app busybox: capabilities not available in this container: ${name}$`, "m"));
    assert.match(stdout, /^CapEff:\t0000000000000000\n/);
  };
  told(["--net=host"], "CAP_NET_ADMIN");
  told(["--net=none", "--private-users"], "CAP_NET_ADMIN");
  told(["--net=none"], "CAP_SYS_TIME");
});

test("an image that asks for more than the default is told, and not with --caps-retain and --seccomp", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const isolators = [
    { name: "os/linux/capabilities-retain-set", value: { set: ["CAP_SYS_ADMIN"] } },
    seccomp("retain", { set: ["@appc.io/all"] }),
  ];
  const wide = image(rkt, { name: "", out: "", isolators, script: "grep ^CapBnd /proc/self/status" });
  const line =
    "rkt: warning: app test: its image asks for more than the default: CAP_SYS_ADMIN; no system call filter, " +
    "which is as good as root on the host (--caps-retain, --seccomp to decide otherwise)\n";
  const given = rkt.ok(["run", wide]);
  assert.deepEqual([given.stdout, given.stderr], ["CapBnd:\t0000000000200000\n", line]);
  assert.equal(rkt.ok(["prepare", wide]).stderr, line);
  const otherwise = ["--caps-retain=CAP_CHOWN", "--seccomp=mode=remove,@rkt/default-blacklist"];
  assert.equal(rkt.ok(["run", wide, ...otherwise]).stderr, "");
});

// --- what cannot be ------------------------------------------------------------------------

const isolator = (name: string, value: unknown) => ({ name: `os/linux/${name}`, value });

const refused: { name: string; isolators?: object[]; options?: string[]; status?: number; message: RegExp }[] = [
  {
    name: "an unknown capability",
    isolators: [isolator("capabilities-retain-set", { set: ["CAP_CHOWN", "CAP_ROOT"] })],
    message:
      /^rkt: run: app test: isolators\[0\]\.value\.set\[1\]: must be a capability like "CAP_CHOWN", got "CAP_ROOT"$/m,
  },
  {
    name: "an unknown system call",
    isolators: [isolator("seccomp-remove-set", { set: ["opne"] })],
    message: /isolators\[0\]\.value\.set\[0\]: must be a system call like "chmod" .*, got "opne"$/m,
  },
  {
    name: "an unknown wildcard",
    isolators: [isolator("seccomp-retain-set", { set: ["@systemd/clock"] })],
    message: /one of the wildcards @appc\.io\/all, .*, got "@systemd\/clock"$/m,
  },
  {
    name: "a remove-set by which nothing could start",
    isolators: [isolator("seccomp-remove-set", { set: ["reboot", "execve"] })],
    message: /app test: isolators\[0\]\.value\.set: must not have execve: no app starts without it$/m,
  },
  {
    name: "likewise",
    options: ["--seccomp=mode=remove,execve"],
    status: 2,
    message: /--seccomp "mode=remove,execve": must not have execve/,
  },
  {
    name: "a second isolator of one kind, by an older name",
    isolators: [
      isolator("capabilities-retain-set", { set: ["CAP_KILL"] }),
      { name: "capabilities/bounding-set", value: "CAP_CHOWN" },
    ],
    message: /app test: isolators\[1\]: must not be a second os\/linux\/capabilities-retain-set$/m,
  },
  {
    name: "an unknown error",
    isolators: [isolator("seccomp-retain-set", { set: ["read"], errno: "EWHAT" })],
    message: /isolators\[0\]\.value\.errno: must be an error name like "EPERM", got "EWHAT"$/m,
  },
  {
    name: "to retain and to remove",
    isolators: [isolator("seccomp-retain-set", { set: ["read"] }), isolator("seccomp-remove-set", { set: ["write"] })],
    message: /isolators: must not have both os\/linux\/seccomp-retain-set and os\/linux\/seccomp-remove-set$/m,
  },
  {
    name: "an impossible oom-score-adj",
    isolators: [isolator("oom-score-adj", 1001)],
    message: /isolators\[0\]\.value: must be .*-1000.*1000/m,
  },
  {
    name: "--caps-retain and --caps-remove",
    options: ["--caps-retain=CAP_CHOWN", "--caps-remove=CAP_KILL"],
    status: 2,
    message: /caps-retain and caps-remove are mutually exclusive/,
  },
  { name: "--caps-retain of nothing known", options: ["--caps-retain=CHOWN"], status: 2, message: /"CHOWN"/ },
  { name: "--seccomp without a mode", options: ["--seccomp=mkdir"], status: 2, message: /mode is retain or remove/ },
  {
    name: "--seccomp of an unknown call",
    options: ["--seccomp=mode=retain,opne"],
    status: 2,
    message: /"opne": must be a system call/,
  },
];

test("what contradicts itself, or nobody knows, never starts", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  for (const { name, isolators = [], options = [], status = 254, message } of refused)
    await t.test(name, () => {
      const file = image(rkt, { name, isolators, script: "echo started", out: "" });
      const { stdout } = rkt.fails(["run", file, ...options], status, message);
      assert.equal(stdout, "");
      assert.deepEqual(rkt.containers(), []);
    });
});

test("an app that its filter lets do nothing still says why it cannot start", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  // In a volume, of which nobody knows before what it will have.
  const nothing = ["--mount=volume=v,target=/v", "--exec=/v/nothing"];
  const said = /^rkt: app busybox: cannot execute "\/v\/nothing": no such file$/m;
  rkt.fails(["run", "--volume=v,kind=empty", busybox, ...nothing, "--seccomp=mode=retain,read"], 203, said);
  rkt.fails(["run", "--volume=v,kind=empty", busybox, ...nothing], 203, said);
});

test("the filter bites who enters, too", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const options = ["--seccomp=mode=remove,errno=EROFS,mkdir", "--exec=/bin/sh", "--", "-c", "echo up; exec sleep 60"];
  const child = rkt.start(["run", busybox, ...options], { stdio: ["ignore", "pipe", "ignore"] });
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  const uuid = basename(rkt.containers()[0] ?? "");
  rkt.fails(["enter", uuid, "mkdir", "/x"], 1, /^mkdir: can't create directory '\/x': Read-only file system$/m);
});
