/**
 * Which system calls an app may make: from its isolators (ace.md,
 * "os/linux/seccomp-*-set") to a filter that `seccomp-program.ts` can compile,
 * and the filter of an app that says nothing (ADR 7). Pure.
 */

import type { KnownIsolators, SeccompSet } from "./schema/isolators.ts";
import { callsOfCapabilities, errorNumber, expandSystemCalls } from "./schema/system-calls.ts";

/** What becomes of a call; a number is the errno it fails with. "kill" ends the process with SIGSYS. */
export type FilterAction = "allow" | "kill" | number;

export interface FilterRule {
  call: string;
  action: FilterAction;
  /** The rule fits a call whose arguments all are so. */
  arguments?: readonly ArgumentTest[];
}

/** On the lower 32 bits of one argument, by its number: that `value` is what is left of them under the mask. */
export interface ArgumentTest {
  index: number;
  mask: number;
  value: number;
}

export interface SystemCallFilter {
  /** For calls without a rule that fits. */
  otherwise: FilterAction;
  /** For numbers without a name (`system-call-numbers.ts`). */
  unknown: FilterAction;
  /** Of one call's rules the first that fits holds. */
  rules: FilterRule[];
}

/** Of an argument. */
const WHOLE = 0xffffffff;

const EPERM = 1;
const ENOSYS = 38;

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET: a namespace makes its maker root in it. */
const NAMESPACE_FLAGS = 0x7e020000;

/** TIOCSTI and TIOCLINUX type on a terminal what another will read. */
const TYPING_REQUESTS = [0x5412, 0x541c];

/** TIOCCONS takes what the kernel writes to the host's console. */
const CONSOLE_REQUEST = 0x541d;

/**
 * Types of ioctl(2) requests, its second byte, that file systems have, and the numbers that are for one file and its
 * owner. The others do something to the file system as a whole by any file of it, an empty volume say, mostly for
 * CAP_SYS_ADMIN: XFS opens files by their handles, btrfs reads its trees, which hold small files, ext4 changes its size
 * and UUID, and each can be frozen or shut down. A number that is younger than this list may be one of these, so it is
 * refused. Sizes and directions of requests vary, and do not count (linux/fs.h, fscrypt.h, fsverity.h, btrfs.h, fs/ext4/ext4.h, xfs_fs.h).
 */
const FILE_SYSTEM_REQUESTS: readonly { type: number; ordinary: readonly number[] }[] = [
  // Attributes and versions of files, their extents, verity; what encryption a file has. Not to encrypt or to add a key:
  // keys are root's of the host, with one quota for all, and without them a tree can't be renamed within.
  { type: 0x66, ordinary: [1, 2, 3, 4, 5, 6, 9, 11, 12, 15, 18, 21, 22, 26, 27, 133, 134, 135] },
  // Space and extents of a file, attributes to read (FS_IOC_FSGETXATTR), geometry. Not to set them: a project ID is one of
  // the host's, whose quota pays.
  { type: 0x58, ordinary: [10, 11, 30, 31, 36, 37, 38, 40, 41, 42, 43, 45, 56, 57, 100, 124, 126] },
  // Clones of files (FICLONE, FIDEDUPERANGE), the label and subvolumes to read. Not to make those: each is a file system in
  // small, with quotas and flags of its own.
  { type: 0x94, ordinary: [2, 8, 9, 13, 16, 22, 25, 30, 31, 49, 54, 60, 61, 62] },
  // f2fs: atomic writes, compression of a file.
  { type: 0xf5, ordinary: [1, 2, 3, 4, 5, 12, 14, 15, 17, 18, 19, 21, 22, 23, 24, 25] },
];

/**
 * AF_ALG, the kernel's cryptography, which has been a way to root (CVE-2026-31431), and AF_VSOCK, whose ports are the
 * host's in every network namespace.
 */
const REFUSED_FAMILIES = [38, 40];

const AF_NETLINK = 16;

/**
 * Protocols of AF_NETLINK that look at the network of the socket and at the capabilities over it: NETLINK_ROUTE, SOCK_DIAG,
 * XFRM, NETFILTER, GENERIC; and AUDIT, which CAP_AUDIT_WRITE of the default set is for, and without which sshd and login let
 * nobody in. Others are the host's in every network: CONNECTOR tells of all processes, ISCSI, SCSITRANSPORT, RDMA and
 * CRYPTO set up devices and ciphers (linux/netlink.h).
 */
const NETLINK_PROTOCOLS = [0, 4, 6, 9, 12, 16];

/** By which libusb and libudev hear of devices, and by which CAP_SYS_ADMIN speaks to all who listen as the kernel does. */
const NETLINK_KOBJECT_UEVENT = 15;

/**
 * Types of ioctl(2) requests, beside those of FILE_SYSTEM_REQUESTS, that are left to an app with CAP_SYS_ADMIN: those of what every app has,
 * and those of devices, which an app has only if it was given one. Each other type may be a file system's, and so be a
 * way to all of it from any file: CIFS has 0xcf, nilfs2 0x6e, bcachefs 0xbc, UDF 0x6c, HFS+ 0x68, autofs 0x93, OCFS2 0x6f.
 * 0xb7 is that of namespaces, by which some kernels open the host's, and 0x52 the random numbers' (ioctl-number.rst).
 */
const ORDINARY_TYPES = [
  // Terminals and pipes, sockets and interfaces, wireless, epoll, seccomp's supervisors.
  ...[0x54, 0x89, 0x8b, 0x8a, 0x21],
  // Disks, SCSI, CD-ROM, tapes, NVMe, loop, device mapper, RAID, nbd, MTD.
  ...[0x12, 0x22, 0x53, 0x6d, 0x4e, 0x4c, 0xfd, 0x09, 0xab, 0x4d],
  // Graphics, DMA buffers and their fences, NVIDIA, AMD, video, media, sound, input, HID, consoles.
  ...[0x64, 0x62, 0x3e, 0x46, 0x4b, 0x56, 0x7c, 0x41, 0x45, 0x48, 0x55],
  // KVM, vhost, VFIO, FUSE, PPP, real-time clocks, watchdogs, I2C, SPI, GPIO, RDMA, trusted execution.
  ...[0xae, 0xaf, 0x3b, 0xe5, 0x74, 0x70, 0x57, 0x07, 0x6b, 0xb4, 0x1b, 0xa4],
];

/** Single requests of other types: FIGETBSZ, FS_IOC_GETVERSION, RNDGETENTCNT, directories and attributes of VFAT, PIDFD_GET_INFO. */
const ORDINARY_REQUESTS = [0x0002, 0x7601, 0x5200, 0x7201, 0x7202, 0x7210, 0x7213, 0xff0b];

/** PER_LINUX and PER_LINUX32, each with UNAME26, and to ask. Others make attacks on memory easier. */
const PERSONALITIES = [0, 8, 0x20000, 0x20008, 0xffffffff];

/**
 * Of an app without a seccomp isolator: what ordinary programs need, and what its further capabilities are for. CAP_SYS_ADMIN
 * adds nothing, and takes what it would be root on the host by.
 */
export function defaultFilter(capabilities: readonly string[] = []): SystemCallFilter {
  const set = ["@rkt/default-whitelist", ...callsOfCapabilities(capabilities)];
  return retaining({ set, errno: "EPERM" }, capabilities);
}

/** Whether the default filter of an app with these capabilities is that of one with none. */
export const leaveDefault = (capabilities: readonly string[]): boolean =>
  callsOfCapabilities(capabilities).length === 0 && !administers(capabilities);

const administers = (capabilities: readonly string[]): boolean => capabilities.includes("CAP_SYS_ADMIN");

/** The filter that isolators ask for, of an app with these capabilities; undefined for one that may do everything. */
export function isolatorFilter(
  isolators: KnownIsolators,
  capabilities: readonly string[] = [],
): SystemCallFilter | undefined {
  const retain = isolators["os/linux/seccomp-retain-set"];
  const remove = isolators["os/linux/seccomp-remove-set"];
  if (retain !== undefined) return retain.set.includes("@appc.io/all") ? undefined : retaining(retain, capabilities);
  // "can be effectively used to opt-in implementation-specific seccomp filtering" (ace.md)
  if (remove === undefined || remove.set.includes("@appc.io/empty")) return defaultFilter(capabilities);
  return removing(remove, capabilities);
}

/**
 * A filter, or none, and beyond it no typing on a terminal. For an app that shares its caller's: what it typed there a
 * shell of the host would read (CVE-2017-5226).
 */
export function withoutTyping(
  filter: SystemCallFilter = { otherwise: "allow", unknown: "allow", rules: [] },
): SystemCallFilter {
  const typing = TYPING_REQUESTS.map((value): FilterRule => {
    return { call: "ioctl", action: EPERM, arguments: [{ index: 1, mask: WHOLE, value }] };
  });
  return { ...filter, rules: [...typing, ...filter.rules] };
}

/** Whether a filter lets a call pass; "partly": it depends on arguments. */
export function allows({ otherwise, rules }: SystemCallFilter, call: string): "yes" | "partly" | "no" {
  const own = rules.filter((rule) => rule.call === call);
  const actions = own.map(({ action }) => action);
  if (own.every((rule) => rule.arguments !== undefined)) actions.push(otherwise);
  if (actions.every((action) => action === "allow")) return "yes";
  return actions.includes("allow") ? "partly" : "no";
}

const blocked = ({ errno }: SeccompSet): FilterAction => (errno === undefined ? "kill" : (errorNumber(errno) ?? EPERM));

const expand = (names: readonly string[]): Set<string> =>
  new Set(names.flatMap((name) => expandSystemCalls(name) ?? []));

/** Whether one of the default lists is among the names, by which arguments are looked at. */
export const namesDefault = ({ set }: SeccompSet): boolean => set.some((name) => /^@.*\/default-/.test(name));

/** Without which no app starts, returns from a signal or ends. No wildcard takes them away; their names do, but for execve. */
const LIFE_CYCLE = ["execve", "execveat", "exit", "exit_group", "rt_sigreturn", "sigreturn"];

/** By which the launcher starts its helper (stage2/launch.ts): a program that is open, by its descriptor. */
const STARTS_HELPER: FilterRule = {
  call: "execveat",
  action: "allow",
  arguments: [{ index: 4, mask: WHOLE, value: 0x1000 }],
};

function removing(isolator: SeccompSet, capabilities: readonly string[]): SystemCallFilter {
  const action = blocked(isolator);
  const calls = expand(isolator.set);
  for (const name of LIFE_CYCLE) if (!isolator.set.includes(name)) calls.delete(name);
  const special = namesDefault(isolator)
    ? argumentRules(action, capabilities).filter(({ call }) => call === "clone3" || !calls.has(call))
    : [];
  return {
    otherwise: "allow",
    unknown: namesDefault(isolator) ? ENOSYS : isolator.set.includes("@appc.io/all") ? action : "allow",
    rules: [
      ...(calls.has("execveat") ? [STARTS_HELPER] : []),
      ...inPlaceOf(
        [...calls].map((call): FilterRule => ({ call, action })),
        special,
        isolator,
      ),
    ],
  };
}

function retaining(isolator: SeccompSet, capabilities: readonly string[]): SystemCallFilter {
  const action = blocked(isolator);
  const calls = expand([...isolator.set, ...LIFE_CYCLE]);
  const special = namesDefault(isolator)
    ? argumentRules(action, capabilities).filter(({ call }) => (call === "clone3" ? !calls.has(call) : calls.has(call)))
    : [];
  return {
    otherwise: action,
    // C libraries then do without; of a list of nothing but names no more is meant than it says.
    unknown: namesDefault(isolator) ? ENOSYS : action,
    rules: inPlaceOf(
      [...calls].map((call): FilterRule => ({ call, action: "allow" })),
      special,
      isolator,
    ),
  };
}

/** Named, a call is meant as it is. */
function inPlaceOf(plain: FilterRule[], special: FilterRule[], { set }: SeccompSet): FilterRule[] {
  const better = special.filter(({ call }) => !set.includes(call));
  const replaced = new Set(better.map(({ call }) => call));
  return [...plain.filter(({ call }) => !replaced.has(call)), ...better];
}

/** What the default lists mean of calls that have other uses besides. */
function argumentRules(action: FilterAction, capabilities: readonly string[]): FilterRule[] {
  return [
    when("clone", 0, 0, "allow", NAMESPACE_FLAGS),
    { call: "clone", action },
    // Its flags are in memory, which no filter reads; C libraries then use clone.
    { call: "clone3", action: ENOSYS },
    ...TYPING_REQUESTS.map((request) => when("ioctl", 1, request, action)),
    when("ioctl", 1, CONSOLE_REQUEST, action),
    ...FILE_SYSTEM_REQUESTS.flatMap(({ type, ordinary }) => [
      ...ordinary.map((number) => when("ioctl", 1, (type << 8) | number, "allow", REQUEST)),
      when("ioctl", 1, type << 8, action, REQUEST_TYPE),
    ]),
    ...(administers(capabilities)
      ? [
          ...ORDINARY_TYPES.map((type) => when("ioctl", 1, type << 8, "allow", REQUEST_TYPE)),
          ...ORDINARY_REQUESTS.map((request) => when("ioctl", 1, request, "allow", REQUEST)),
          { call: "ioctl", action },
        ]
      : [{ call: "ioctl", action: "allow" } as const]),
    ...PERSONALITIES.map((personality) => when("personality", 0, personality, "allow")),
    { call: "personality", action },
    ...REFUSED_FAMILIES.map((family) => when("socket", 0, family, action)),
    ...[...NETLINK_PROTOCOLS, ...(administers(capabilities) ? [] : [NETLINK_KOBJECT_UEVENT])].map((protocol): FilterRule => {
      const family = { index: 0, mask: WHOLE, value: AF_NETLINK };
      return { call: "socket", action: "allow", arguments: [family, { index: 2, mask: WHOLE, value: protocol }] };
    }),
    when("socket", 0, AF_NETLINK, action),
    { call: "socket", action: "allow" },
  ];
}

/** Of an ioctl(2) request its number and type, and its type. */
const [REQUEST, REQUEST_TYPE] = [0xffff, 0xff00];

const when = (call: string, index: number, value: number, action: FilterAction, mask = WHOLE): FilterRule => ({
  call,
  action,
  arguments: [{ index, mask, value }],
});
