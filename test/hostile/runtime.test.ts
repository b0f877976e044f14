/**
 * CVE-2019-5736: an app's program is a script whose interpreter is `/proc/self/exe`. The kernel then executes the
 * launcher's own runtime in the app's root, with a loader of the image's, which opens the runtime's file and writes to
 * it once nobody executes it any more.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { dist, eventually, exampleAci, finished, makeRkt, type Rkt, requires, scratchFile } from "../helpers/rkt.ts";

/** In the place of ld.so: keeps the file open that it was started to load, and becomes /writer. */
const LOADER = `
static long call(long n, const void *a, const void *b, const void *c)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}
void _start(void)
{
	static char *const argv[] = {"/writer", 0};
	char *const none[] = {0};
	char *const args[] = {(char *)"/writer", 0};
	(void)argv;
	call(2, "/proc/self/exe", (void *)0, (void *)0);
	call(59, "/writer", args, none);
	call(60, (void *)99, 0, 0);
}
`;

const WRITER = `
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(void)
{
	for (int fd = 3; fd < 10; fd++) {
		char path[64], exe[512] = "";
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (readlink(path, exe, sizeof exe - 1) < 0)
			continue;
		int written = open(path, O_WRONLY);
		printf("%s: %s\\n", strrchr(exe, '/') + 1, written < 0 ? strerrorname_np(errno) : "REACHED");
	}
	return 3;
}
`;

function hostileImage(rkt: Rkt): string {
  const compile = (name: string, source: string, ...flags: string[]) => {
    const out = join(rkt.scratch, name);
    execFileSync("gcc", [...flags, "-O1", "-o", out, scratchFile(rkt, `${name}.c`, source)]);
    return readFileSync(out);
  };
  const loader = compile("loader", LOADER, "-static-pie", "-nostdlib", "-ffreestanding", "-fno-stack-protector");
  const writer = compile("writer", WRITER, "-static");
  const entries: Entry[] = [
    { name: "rootfs/app", data: "#!/proc/self/exe\n", mode: 0o755 },
    { name: "rootfs/lib64/ld-linux-x86-64.so.2", data: loader, mode: 0o755 },
    { name: "rootfs/writer", data: writer, mode: 0o755 },
  ];
  const app = { exec: ["/app"], user: "0", group: "0" };
  return scratchFile(rkt, "hostile.aci", makeAci(entries, manifest({ name: "example.com/hostile", app })));
}

const FLAVORS: readonly [name: string, options: readonly string[], after: readonly string[]][] = [
  ["nspawn", [], []],
  ["nspawn with users of its own", ["--private-users"], []],
  ["fly", [`--stage1-path=${join(dist, "stage1-fly.aci")}`], ["--caps-retain=CAP_CHOWN"]],
  ["fly without overlays", ["--no-overlay", `--stage1-path=${join(dist, "stage1-fly.aci")}`], []],
];
const ready = (t: TestContext) => requires(t, "root", "build", "gcc");

for (const [flavor, options, after] of FLAVORS)
  test(`${flavor}: an app that is started as the launcher's runtime cannot write to it`, (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const { status, stdout, stderr } = rkt.run(["run", ...options, hostileImage(rkt), ...after]);
    // What it would be loaded for is a program without a loader, which ends.
    assert.deepEqual([status, stdout], [203, ""], stderr);
  });

/**
 * The same by way of the root that the runtime's other threads still have when the app is executed (CVE-2024-21626): a
 * script whose interpreter is a file of another app, of another app's volume, in fly of the host. Its numbers of threads
 * are guessed; in fly a pre-start handler is the launcher's child and sees them.
 */
const TAKE = "exec 3</proc/self/exe\nexec /bin/busybox sh /take\n";
const threads = Array.from({ length: 30 }, (_, i) => i + 6);

function reachingImage(rkt: Rkt, name: string, target: string): string {
  const busybox = readFileSync("/usr/bin/busybox");
  // Whoever runs that program afterwards runs what is written here.
  const take = `/bin/busybox usleep 20000; /bin/busybox printf '#!/bin/sh\\necho REACHED\\n' >/proc/self/fd/3 && echo written\n`;
  const script = `for t in ${threads.join(" ")}; do /go-$t; done 2>/dev/null; echo tried`;
  const entries: Entry[] = [
    { name: "rootfs/bin/busybox", data: busybox, mode: 0o755 },
    { name: "rootfs/bin/sh", type: "2", link: "busybox" },
    { name: "rootfs/take", data: take, mode: 0o755 },
    ...threads.map(
      (thread): Entry => ({
        name: `rootfs/go-${thread}`,
        data: `#!/proc/self/task/${thread}/root${target} sh\n${TAKE}`,
        mode: 0o755,
      }),
    ),
  ];
  // One attempt for each process that the launcher becomes: handlers as well, and what enters.
  const app = { exec: ["/bin/sh", "-c", `${script}; exec /bin/busybox sleep 1000`], user: "0", group: "0" };
  return scratchFile(rkt, `${name}.aci`, makeAci(entries, manifest({ name: `example.com/${name}`, app })));
}

for (const [flavor, options] of [
  ["nspawn", []],
  ["nspawn with users of its own", ["--private-users"]],
] as const)
  test(`${flavor}: a script's interpreter is no file outside of the app's root, whichever thread's root it names`, (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const volume = join(rkt.scratch, "volume");
    mkdirSync(volume);
    chmodSync(volume, 0o777);
    const target = join(volume, "busybox");
    copyFileSync("/usr/bin/busybox", target);
    chmodSync(target, 0o777);
    const before = readFileSync(target);
    const image = reachingImage(rkt, "attacker", "/rkt/host-volumes/data/busybox");
    const victim = ["--mount=volume=data,target=/data", "--exec=/bin/true"];
    for (const thread of threads) {
      const words = ["run", ...options, `--volume=data:${volume}`, image, `--exec=/go-${thread}`];
      const done = rkt.run([...words, "---", exampleAci("busybox"), ...victim]);
      assert.doesNotMatch(done.stdout, /written/);
      assert.equal(done.status, 203, done.stderr);
      assert.match(done.stderr, /cannot execute "\/go-\d+"/);
    }
    assert.ok(readFileSync(target).equals(before), "the volume's file is as it was");
  });

test("fly: likewise, of an app without capabilities, with the thread's number read by a handler", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const target = join(rkt.scratch, "busybox");
  copyFileSync("/usr/bin/busybox", target);
  chmodSync(target, 0o777);
  chmodSync(rkt.scratch, 0o755);
  chmodSync(join(rkt.scratch, ".."), 0o755);
  const before = readFileSync(target);
  const handler = `for t in $(/bin/busybox ls /proc/$PPID/task); do [ $t = $PPID ] && continue
/bin/busybox printf '#!/proc/self/task/%s/root${target} sh\\n' $t >/own/go; done
/bin/busybox printf 'exec 3</proc/self/exe\\nexec /bin/busybox sh /take\\n' >>/own/go; /bin/busybox chmod 755 /own/go`;
  const entries: Entry[] = [
    { name: "rootfs/bin/busybox", data: readFileSync("/usr/bin/busybox"), mode: 0o755 },
    { name: "rootfs/bin/sh", type: "2", link: "busybox" },
    { name: "rootfs/own", type: "5", uid: 1000, gid: 1000, mode: 0o755 },
    {
      name: "rootfs/take",
      data: `/bin/busybox usleep 20000; echo REACHED >/proc/self/fd/3 && echo written\n`,
      mode: 0o755,
    },
  ];
  const app = {
    exec: ["/own/go"],
    user: "1000",
    group: "1000",
    eventHandlers: [{ name: "pre-start", exec: ["/bin/sh", "-c", handler] }],
  };
  const image = scratchFile(rkt, "fly.aci", makeAci(entries, manifest({ name: "example.com/fly", app })));
  const done = rkt.run(["run", `--stage1-path=${join(dist, "stage1-fly.aci")}`, image]);
  assert.doesNotMatch(done.stdout, /written/);
  assert.equal(done.status, 203, done.stderr);
  assert.ok(readFileSync(target).equals(before), "the host's file is as it was");
});

/** The mounts of a process below a path, and whether they are read-only (proc_pid_mountinfo(5)). */
const readOnlyBelow = (pid: number, end: string): boolean[] =>
  readFileSync(`/proc/${pid}/mountinfo`, "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([, , , , target = ""]) => target.endsWith(end))
    .map(([, , , , , flags = ""]) => flags.split(",").includes("ro"));

for (const [name, stage1] of [
  ["stage1-fly", join(dist, "stage1-fly.aci")],
  ["stage1-shell", exampleAci("stage1-shell")],
  ["stage1-bwrap", exampleAci("stage1-bwrap")],
] as const)
  test(`${name}: what the host executes of a running container is read-only there`, async (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const uuidFile = join(rkt.scratch, "uuid");
    const words = [`--stage1-path=${stage1}`, `--uuid-file-save=${uuidFile}`, exampleAci("busybox")];
    const child = rkt.start(["run", ...words, "--exec=/bin/sh", "--", "-c", "echo up; exec sleep 1000"], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    const done = finished(child);
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    const uuid = readFileSync(uuidFile, "utf8");
    const pid = await eventually("its pid is there", () => {
      const found = JSON.parse(rkt.ok(["status", "--format=json", uuid]).stdout).pid;
      return typeof found === "number" ? found : undefined;
    });
    assert.deepEqual(readOnlyBelow(pid, "/stage1/rootfs/usr"), [true]);
    rkt.ok(["stop", "--force", uuid]);
    await done;
  });
