/**
 * Which system calls an app may make. Translates its isolators (ace.md, "os/linux/seccomp-*-set") into a filter that
 * `seccomp-program.ts` can compile, and has the default filter of apps without such isolators (ADR 7). Pure.
 */

import type { KnownIsolators, SeccompSet } from "./schema/isolators.ts";
import { callsOfCapabilities, errorNumber, expandSystemCalls } from "./schema/system-calls.ts";

/** What happens to a call: a number is the errno with which it fails; "kill" ends the process with SIGSYS. */
export type FilterAction = "allow" | "kill" | number;

export interface FilterRule {
  call: string;
  action: FilterAction;
  /** The rule matches a call if all tests hold. */
  arguments?: readonly ArgumentTest[];
}

/** Holds if the lower 32 bits of argument `index`, under the mask, are `value`. */
export interface ArgumentTest {
  index: number;
  mask: number;
  value: number;
}

export interface SystemCallFilter {
  /** For calls without a matching rule. */
  otherwise: FilterAction;
  /** For numbers without a name (`system-call-numbers.ts`). */
  unknown: FilterAction;
  /** The first matching rule of a call decides. */
  rules: FilterRule[];
}

/** Mask for a whole argument. */
const WHOLE = 0xffffffff;

const EPERM = 1;
const ENOSYS = 38;

/**
 * CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET: a process is root in a user namespace that it makes.
 */
const NAMESPACE_FLAGS = 0x7e020000;

/** TIOCSTI and TIOCLINUX put characters into a terminal's input, which another program then reads. */
const TYPING_REQUESTS = [0x5412, 0x541c];

/** TIOCCONS redirects the output of the host's console. */
const CONSOLE_REQUEST = 0x541d;

/**
 * Types (the second byte) of file systems' ioctl(2) requests, each with the numbers of requests that concern one file
 * and its owner: these are allowed. Other requests act on the whole file system, through any of its files, such as one
 * in an empty volume. Most need CAP_SYS_ADMIN: XFS opens files by handle, btrfs reads its trees, which hold small
 * files, ext4 changes its size and UUID, and each can be frozen or shut down. A number that is newer than this list may
 * be such a request, so it is refused. The size and direction bits of a request are ignored (linux/fs.h, fscrypt.h,
 * fsverity.h, btrfs.h, fs/ext4/ext4.h, xfs_fs.h).
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
 * AF_ALG, the kernel's cryptography, through which users have become root (CVE-2026-31431), and AF_VSOCK, whose ports
 * are the host's in every network namespace.
 */
const REFUSED_FAMILIES = [38, 40];

const AF_NETLINK = 16;

/**
 * Allowed protocols of AF_NETLINK. NETLINK_ROUTE, SOCK_DIAG, XFRM, NETFILTER and GENERIC belong to the socket's network
 * namespace, and check capabilities over it. AUDIT needs CAP_AUDIT_WRITE, which is in the default set; without it sshd
 * and login let nobody in. Other protocols reach the host from every network namespace: CONNECTOR reports all
 * processes; ISCSI, SCSITRANSPORT, RDMA and CRYPTO set up devices and ciphers (linux/netlink.h).
 */
const NETLINK_PROTOCOLS = [0, 4, 6, 9, 12, 16];

/**
 * libusb and libudev learn of devices by it. With CAP_SYS_ADMIN, an app could send such messages in the kernel's name.
 */
const NETLINK_KOBJECT_UEVENT = 15;

/**
 * Further types of ioctl(2) requests that an app with CAP_SYS_ADMIN may make: those of files that every app has, and
 * those of devices, which an app has only if it was given one. Any other type may be a file system's, and reach all of
 * it from any file: CIFS has 0xcf, nilfs2 0x6e, bcachefs 0xbc, UDF 0x6c, HFS+ 0x68, autofs 0x93, OCFS2 0x6f. 0xb7 is
 * that of namespaces, by which some kernels open the host's, and 0x52 that of random numbers (ioctl-number.rst).
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

/** PER_LINUX and PER_LINUX32, each also with UNAME26, and the query. Others make attacks on memory easier. */
const PERSONALITIES = [0, 8, 0x20000, 0x20008, 0xffffffff];

/**
 * The filter of an app without a seccomp isolator. It allows the calls that ordinary programs need, and those that its
 * further capabilities are for. For an app with CAP_SYS_ADMIN it adds no call, and forbids requests by which that app
 * would be root on the host.
 */
export function defaultFilter(capabilities: readonly string[] = []): SystemCallFilter {
  const set = ["@rkt/default-whitelist", ...callsOfCapabilities(capabilities)];
  return retaining({ set, errno: "EPERM" }, capabilities);
}

/** Whether the default filter of an app with these capabilities is the same as without them. */
export const keepDefaultFilter = (capabilities: readonly string[]): boolean =>
  callsOfCapabilities(capabilities).length === 0 && !administers(capabilities);

const administers = (capabilities: readonly string[]): boolean => capabilities.includes("CAP_SYS_ADMIN");

/** The filter that an app's isolators ask for; undefined if it may make all calls. */
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
 * Adds to a filter, or to none, that the app may not type on a terminal. For an app that shares its caller's terminal:
 * a shell of the host would read what it typed there (CVE-2017-5226).
 */
export function withoutTyping(
  filter: SystemCallFilter = { otherwise: "allow", unknown: "allow", rules: [] },
): SystemCallFilter {
  const typing = TYPING_REQUESTS.map((value): FilterRule => {
    return { call: "ioctl", action: EPERM, arguments: [{ index: 1, mask: WHOLE, value }] };
  });
  return { ...filter, rules: [...typing, ...filter.rules] };
}

/** Whether a filter allows a call; "partly": it depends on arguments. */
export function allows({ otherwise, rules }: SystemCallFilter, call: string): "yes" | "partly" | "no" {
  const own = rules.filter((rule) => rule.call === call);
  const actions = own.map(({ action }) => action);
  if (own.every((rule) => rule.arguments !== undefined)) actions.push(otherwise);
  if (actions.every((action) => action === "allow")) return "yes";
  return actions.includes("allow") ? "partly" : "no";
}

/** Whether a filter, or none, lets an app make a user namespace, in which it has every capability. */
export const allowsNamespaces = (filter: SystemCallFilter | undefined): boolean =>
  filter === undefined ||
  ["clone3", "unshare", "setns"].some((call) => allows(filter, call) !== "no") ||
  allows(filter, "clone") === "yes";

const blocked = ({ errno }: SeccompSet): FilterAction => (errno === undefined ? "kill" : (errorNumber(errno) ?? EPERM));

const expand = (names: readonly string[]): Set<string> =>
  new Set(names.flatMap((name) => expandSystemCalls(name) ?? []));

/** Whether a default list is among the names: then the rules about arguments apply, too. */
export const namesDefault = ({ set }: SeccompSet): boolean => set.some((name) => /^@.*\/default-/.test(name));

/**
 * Calls that every app needs to start, to return from a signal and to end. No wildcard can remove them, only their own
 * names; execve can't be removed at all.
 */
const LIFE_CYCLE = ["execve", "execveat", "exit", "exit_group", "rt_sigreturn", "sigreturn"];

/** The call by which the launcher starts its helper (stage2/launch.ts): execveat(2) of an open file (AT_EMPTY_PATH). */
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
        isolator.set,
      ),
    ],
  };
}

function retaining(isolator: SeccompSet, capabilities: readonly string[]): SystemCallFilter {
  const action = blocked(isolator);
  const calls = expand([...isolator.set, ...LIFE_CYCLE]);
  const byDefault = namesDefault(isolator);
  const special = argumentRules(action, capabilities).filter(({ call }) =>
    call === "clone3" ? byDefault && !calls.has(call) : (byDefault || CHECKED_BY_ARGUMENTS.includes(call)) && calls.has(call),
  );
  return {
    otherwise: action,
    // At ENOSYS, C libraries use another call. A list of nothing but names allows exactly these, so others are blocked.
    unknown: namesDefault(isolator) ? ENOSYS : action,
    rules: inPlaceOf(
      [...calls].map((call): FilterRule => ({ call, action: "allow" })),
      special,
      byDefault ? isolator.set : [],
    ),
  };
}

/**
 * Calls that every program makes, and whose arguments decide what they do. A list of names alone means by them what the
 * default filter allows. A list that names them beside a default list allows them with all arguments.
 */
const CHECKED_BY_ARGUMENTS = ["ioctl", "personality", "socket"];

/** Replaces plain rules by rules about arguments, except for the calls that are `named`. */
function inPlaceOf(plain: FilterRule[], special: FilterRule[], named: readonly string[]): FilterRule[] {
  const better = special.filter(({ call }) => !named.includes(call));
  const replaced = new Set(better.map(({ call }) => call));
  return [...plain.filter(({ call }) => !replaced.has(call)), ...better];
}

/** The rules of the default lists for calls that are allowed only with some arguments. */
function argumentRules(action: FilterAction, capabilities: readonly string[]): FilterRule[] {
  return [
    when("clone", 0, 0, "allow", NAMESPACE_FLAGS),
    { call: "clone", action },
    // Its flags are in memory, which a filter can't read. At ENOSYS, C libraries use clone.
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

/** Masks of an ioctl(2) request: number and type, and type alone. */
const [REQUEST, REQUEST_TYPE] = [0xffff, 0xff00];

const when = (call: string, index: number, value: number, action: FilterAction, mask = WHOLE): FilterRule => ({
  call,
  action,
  arguments: [{ index, mask, value }],
});
