/** What the compiled filters answer to each number, as the kernel would run them. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { I386, runFilter, X86_64 } from "../test/helpers/bpf.ts";
import { requires } from "../test/helpers/rkt.ts";
import type { KnownIsolators } from "./schema/isolators.ts";
import { defaultFilter, isolatorFilter, type SystemCallFilter } from "./seccomp.ts";
import { filterProgram } from "./seccomp-program.ts";
import { systemCallNumbers } from "./system-call-numbers.ts";

const MACHINES = { x86_64: X86_64, i386: I386 } as const;
type Machine = keyof typeof MACHINES;

const compiled = (isolators: KnownIsolators): Buffer => filterProgram(isolatorFilter(isolators) as SystemCallFilter);
const retain = (...set: string[]) => compiled({ "os/linux/seccomp-retain-set": { set, errno: undefined } });
const remove = (...set: string[]) => compiled({ "os/linux/seccomp-remove-set": { set, errno: "EPERM" } });

function ask(program: Buffer, machine: Machine, call: string | number, low: number[] = [], high: number[] = []): string {
  const number = typeof call === "number" ? call : systemCallNumbers(machine).get(call);
  assert.ok(number !== undefined, `${call} of ${machine}`);
  return runFilter(program, { machine: MACHINES[machine], number, low, high });
}

/** Those that the default filter refuses whatever their arguments are; docs/adr/0007-system-calls.md. */
const REFUSED = `
_sysctl acct add_key adjtimex afs_syscall bdflush bpf break clock_adjtime clock_adjtime64 clock_settime
clock_settime64 create_module delete_module fanotify_init fanotify_mark finit_module fsconfig fsmount fsopen fspick
ftime file_setattr get_kernel_syms get_mempolicy getpmsg gtty idle init_module io_uring_enter io_uring_register io_uring_setup
ioperm iopl kcmp kexec_file_load kexec_load keyctl listmount listns lock lookup_dcookie lsm_get_self_attr lsm_list_modules
lsm_set_self_attr mbind migrate_pages mount mount_setattr move_mount move_pages mpx name_to_handle_at nfsservctl
open_by_handle_at open_tree open_tree_attr perf_event_open pidfd_getfd pivot_root process_madvise process_vm_readv
process_vm_writev prof profil ptrace putpmsg query_module quotactl quotactl_fd reboot request_key security
set_mempolicy set_mempolicy_home_node setdomainname sethostname setns settimeofday statmount stime stty swapoff swapon sysfs
syslog tuxcall ulimit umount umount2 unshare uselib userfaultfd ustat vhangup vm86 vm86old vserver
`
  .trim()
  .split(/\s+/);

/** By all arguments 0; of clone that is a plain process, of socket no family. */
function expected(machine: Machine, number: number): string {
  const name = [...systemCallNumbers(machine)].find(([, its]) => its === number)?.[0];
  if (name === undefined || name === "clone3") return "ENOSYS";
  // With a first argument of 0 it stands for nothing.
  if (name === "socketcall") return "EPERM";
  return REFUSED.includes(name) ? "EPERM" : "allow";
}

for (const machine of ["x86_64", "i386"] as const)
  test(`the default filter, number by number: ${machine}`, () => {
    const program = filterProgram(defaultFilter());
    for (let number = 0; number < 1024; number++)
      assert.equal(ask(program, machine, number), expected(machine, number), `number ${number}`);
    for (const number of [0x3fffffff, 0xffffffff]) assert.equal(ask(program, machine, number), "ENOSYS");
  });

test("calls of the x32 kind, and of other machines, end the process", () => {
  for (const program of [filterProgram(defaultFilter()), remove("mkdir"), retain("read")]) {
    for (const number of [0x40000000, 0x40000001, 0x40000000 + 515, 0xfffffffe])
      assert.equal(ask(program, "x86_64", number), "kill");
    assert.equal(runFilter(program, { machine: 0xc00000b7, number: 0 }), "kill");
  }
});

const NEW_NAMESPACES = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000];

test("the default filter looks at arguments: their lower halves, as the kernel does", () => {
  const program = filterProgram(defaultFilter());
  for (const machine of ["x86_64", "i386"] as const) {
    const is = (answer: string, call: string, low: number[], high: number[] = []) =>
      assert.equal(ask(program, machine, call, low, high), answer, `${call} ${low} ${high}`);
    is("allow", "clone", [0x3d0f00]);
    is("allow", "clone", [17]);
    for (const flag of NEW_NAMESPACES) is("EPERM", "clone", [flag | 17], [1]);
    for (const family of [0, 1, 2, 10, 16, 17, 39, 41]) is("allow", "socket", [family]);
    for (const family of [38, 40]) is("EPERM", "socket", [family], [1]);
    for (const request of [0x5412, 0x541c]) is("EPERM", "ioctl", [0, request], [0, 1]);
    // TIOCCONS, FITHAW, XFS_IOC_OPEN_BY_HANDLE, BTRFS_IOC_TREE_SEARCH, FS_IOC_SETFSLABEL
    for (const request of [0x541d, 0xc0045878, 0xc030586b, 0xd0009411, 0x41009432]) is("EPERM", "ioctl", [0, request]);
    // What ext4 and XFS do to a whole file system, and what nobody knows yet of it and others; sizes do not count.
    for (const number of [7, 8, 16, 17, 19, 20, 23, 24, 25, 43, 44, 46, 200])
      for (const size of [0, 0x40080000, 0xc0ff0000]) is("EPERM", "ioctl", [0, size | 0x6600 | number]);
    for (const number of [32, 110, 111, 112, 113, 114, 115, 116, 200]) is("EPERM", "ioctl", [0, 0x40105800 | number]);
    for (const number of [1, 14, 15, 18, 20, 23, 24, 26, 57, 63, 64, 200]) is("EPERM", "ioctl", [0, 0x50009400 | number]);
    for (const number of [6, 7, 10, 11, 16, 200]) is("EPERM", "ioctl", [0, 0x4004f500 | number]);
    // TIOCGWINSZ, FICLONE, FS_IOC_FSGETXATTR, FS_IOC_GETFLAGS of both sizes, FS_IOC_FIEMAP, FIDEDUPERANGE, FS_IOC_GETFSLABEL,
    // F2FS_IOC_START_ATOMIC_WRITE
    const usual = [0x5413, 0x40049409, 0x801c581f, 0x80086601, 0x80046601, 0xc020660b, 0xc0189436, 0x81009431, 0xf501];
    for (const request of usual) is("allow", "ioctl", [0, request]);
    for (const call of ["statmount", "listmount", "file_setattr"]) is("EPERM", call, []);
    for (const personality of [0, 8, 0x20000, 0x20008, 0xffffffff]) is("allow", "personality", [personality]);
    for (const personality of [0x40000, 0x400000, 6]) is("EPERM", "personality", [personality]);
  }
});

/** Of ROUTE, SOCK_DIAG, XFRM, AUDIT, NETFILTER and GENERIC. */
const NETLINK = [0, 4, 6, 9, 12, 16];
const KOBJECT_UEVENT = 15;

test("the default filter knows the protocols of AF_NETLINK that are a network's; CAP_SYS_ADMIN forges no event", () => {
  for (const [capabilities, allowed] of [
    [[], [...NETLINK, KOBJECT_UEVENT]],
    [["CAP_SYS_ADMIN"], NETLINK],
  ] as const)
    for (const machine of ["x86_64", "i386"] as const) {
      const program = filterProgram(defaultFilter(capabilities));
      for (let protocol = 0; protocol < 64; protocol++) {
        const answer = (allowed as readonly number[]).includes(protocol) ? "allow" : "EPERM";
        // The kernel looks at the lower halves.
        for (const high of [[], [1, 1, 1]])
          assert.equal(ask(program, machine, "socket", [16, 3, protocol], high), answer, `protocol ${protocol}`);
        // Of another family it is that family's.
        assert.equal(ask(program, machine, "socket", [17, 3, protocol]), "allow");
      }
      assert.equal(ask(program, machine, "socket", [16, 3, 0xffffffff]), "EPERM");
    }
  const removed = filterProgram(
    isolatorFilter({ "os/linux/seccomp-remove-set": { set: ["@rkt/default-blacklist"], errno: "EPERM" } }, [
      "CAP_SYS_ADMIN",
    ]) as SystemCallFilter,
  );
  assert.equal(ask(removed, "x86_64", "socket", [16, 3, KOBJECT_UEVENT]), "EPERM");
});

test("of requests that no list knows none is CAP_SYS_ADMIN's", () => {
  const [usual, administers] = [filterProgram(defaultFilter()), filterProgram(defaultFilter(["CAP_SYS_ADMIN"]))];
  const is = (answer: string, request: number) => {
    for (const machine of ["x86_64", "i386"] as const)
      assert.equal(ask(administers, machine, "ioctl", [0, request], [0, 1]), answer, request.toString(16));
    assert.equal(ask(usual, "x86_64", "ioctl", [0, request]), "allow", request.toString(16));
  };
  // CIFS_IOC_SHUTDOWN, NILFS_IOCTL_RESIZE, BCH_IOCTL_DISK_ADD, UDF_RELOCATE_BLOCKS, HFSPLUS_IOC_BLESS,
  // AUTOFS_IOC_CATATONIC, OCFS2_IOC_GROUP_EXTEND, NS_MNT_GET_NEXT, RNDADDTOENTCNT, FIBMAP, and of a type that nobody has.
  for (const request of [0x8004cf04, 0x40086e8b, 0x4010bc04, 0xc0086c43, 0x6880, 0x9362, 0x40046f01]) is("EPERM", request);
  for (const request of [0x8010b70a, 0x40045201, 0x1, 0xdd01]) is("EPERM", request);
  // TCGETS, FIONREAD, TUNSETIFF, SIOCGIFCONF, BLKGETSIZE64, FIGETBSZ, FS_IOC_GETVERSION, FICLONE, DRM_IOCTL_VERSION, KVM_RUN.
  for (const request of [0x5401, 0x541b, 0x400454ca, 0x8912, 0x80081272, 0x2, 0x80087601, 0x40049409]) is("allow", request);
  for (const request of [0xc0406400, 0xae80]) is("allow", request);
  // What every filter refuses.
  for (const request of [0x5412, 0x541d, 0xc0045877])
    assert.equal(ask(administers, "x86_64", "ioctl", [0, request]), "EPERM");
});

test("what stands for other calls does as they do, and no family is chosen where no filter sees it", () => {
  const program = filterProgram(defaultFilter());
  const socketcall = (of: Buffer, part: number) => ask(of, "i386", "socketcall", [part]);
  assert.equal(socketcall(program, 1), "EPERM");
  for (let part = 2; part <= 20; part++) assert.equal(socketcall(program, part), "allow");
  assert.equal(socketcall(program, 21), "EPERM");
  assert.equal(socketcall(retain("@rkt/default-whitelist", "socketcall"), 1), "allow");
  assert.equal(socketcall(remove("@rkt/default-blacklist"), 1), "EPERM");
  assert.equal(socketcall(remove("@rkt/default-blacklist"), 2), "allow");
  assert.equal(socketcall(remove("connect"), 3), "EPERM");
  assert.equal(socketcall(remove("connect"), 1), "allow");
  assert.equal(socketcall(retain("socket"), 1), "kill");
  assert.equal(socketcall(retain("socket", "socketcall"), 1), "allow");
  assert.equal(socketcall(retain("socket"), 2), "kill");
  // The version is above the number.
  assert.equal(ask(remove("shmget"), "i386", "ipc", [0x10000 | 23]), "EPERM");
  assert.equal(ask(remove("shmget"), "i386", "ipc", [21]), "allow");
});

test("a list of names alone means by some of them what the default filter allows", () => {
  const program = retain("ioctl", "socket", "personality", "clone");
  for (const family of [1, 2, 10]) assert.equal(ask(program, "x86_64", "socket", [family]), "allow");
  for (const family of [38, 40]) assert.equal(ask(program, "x86_64", "socket", [family]), "kill");
  assert.equal(ask(program, "x86_64", "socket", [16, 3, 11]), "kill", "NETLINK_CONNECTOR");
  for (const request of [0x5412, 0xc0045878, 0x401c5820]) assert.equal(ask(program, "x86_64", "ioctl", [0, request]), "kill");
  assert.equal(ask(program, "x86_64", "ioctl", [0, 0x5413]), "allow");
  assert.equal(ask(program, "x86_64", "personality", [0x40000]), "kill");
  // Beside a default list they are named to have all of them.
  const all = retain("@rkt/default-whitelist", "socket");
  assert.equal(ask(all, "x86_64", "socket", [40]), "allow");
});

test("a filter of every second call has an answer for each", () => {
  const names = [...systemCallNumbers("x86_64")].filter(([, number]) => number % 2 === 0).map(([name]) => name);
  const program = remove(...names);
  // BPF_MAXINSNS
  assert.ok(program.length / 8 <= 4096);
  for (const [name, number] of systemCallNumbers("x86_64"))
    assert.equal(ask(program, "x86_64", name), number % 2 === 0 ? "EPERM" : "allow", name);
  for (const [name, number] of systemCallNumbers("i386"))
    if (!names.includes(name)) assert.equal(ask(program, "i386", number), "allow", name);
});

test("the numbers are the kernel's", (t) => {
  if (!requires(t, "gcc")) return;
  for (const [machine, bits] of [
    ["x86_64", 64],
    ["i386", 32],
  ] as const) {
    const input = `#include <asm/unistd_${bits}.h>\n`;
    const { stdout } = spawnSync("gcc", ["-E", "-dM", "-x", "c", "-"], { input, encoding: "utf8" });
    const known = [...stdout.matchAll(/^#define __NR_(\w+) (\d+)$/gm)];
    assert.ok(known.length > 300);
    const ours = systemCallNumbers(machine);
    for (const [, name = "", number] of known) assert.equal(ours.get(name), Number(number), name);
    assert.equal(new Set(ours.values()).size, ours.size);
  }
});
