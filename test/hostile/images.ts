/**
 * Images that no tool makes, each with what must become of it. `refused` is
 * what the one line of the error says; `kept` is what `find` shows of the
 * rendered root file system.
 */

import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { crc32, gzipSync } from "node:zlib";
import { type Entry, makeAci, manifest, rootfs, tar } from "../fixtures/aci.ts";

export interface HostileImage {
  name: string;
  /** Gets the path of a directory outside of the target, with a file `secret` and a directory `dir` in it. */
  make(victim: string): Buffer;
  refused?: RegExp;
  /** Lines of `find -printf '%P %y %#m %l\n'`, sorted. */
  kept?: readonly string[];
  /** Only a whole command shows what becomes of it: it passes the import, or is a matter of memory. */
  wholeCommand?: boolean;
}

const image = (...entries: Entry[]): Buffer => makeAci(entries);
const refused = (name: string, message: RegExp, make: HostileImage["make"]): HostileImage => ({
  name,
  refused: message,
  make,
});
const kept = (name: string, lines: readonly string[], make: HostileImage["make"]): HostileImage => ({
  name,
  kept: lines,
  make,
});

const file = (name: string | Buffer, data = "x", over: Partial<Entry> = {}): Entry => ({ name, data, ...over });
const dir = (name: string, over: Partial<Entry> = {}): Entry => ({ name, type: "5", ...over });
const symlink = (name: string, link: string): Entry => ({ name, type: "2", link });
const hardLink = (name: string, link: string): Entry => ({ name, type: "1", link });
const device = (name: string, type: "3" | "4", major: number, minor: number): Entry => ({
  name,
  type,
  device: [major, minor],
});
const pax = (name: string, records: Record<string, string | Buffer>, over: Partial<Entry> = {}): Entry => ({
  name,
  pax: records,
  ...over,
});

// --- names that lead elsewhere ----------------------------------------------------

/** Each as a file, a directory, a symbolic link and a hard link. */
const WAYS_OUT: readonly [name: string, message: RegExp][] = [
  ["..", /has a component "\.\."/],
  ["../x", /has a component "\.\."/],
  ["rootfs/..", /has a component "\.\."/],
  ["rootfs/../x", /has a component "\.\."/],
  ["rootfs/../../x", /has a component "\.\."/],
  ["rootfs/a/../../../x", /has a component "\.\."/],
  ["rootfs/a/..", /has a component "\.\."/],
  ["./rootfs/../../x", /has a component "\.\."/],
  ["rootfs//..//..//x", /has a component "\.\."/],
  ["rootfs/./../../x", /has a component "\.\."/],
  ["rootfs/../rootfs/../../x", /has a component "\.\."/],
  ["../../../../../../../../../../../../../../../../tmp/x", /has a component "\.\."/],
  ["/x", /is absolute/],
  ["//x", /is absolute/],
  ["/rootfs/x", /is absolute/],
  ["///rootfs/../x", /is absolute/],
  ["/proc/self/root/x", /is absolute/],
  ["/proc/self/cwd/x", /is absolute/],
  ["rootfs2/x", /beside "manifest" and "rootfs"/],
  ["x", /beside "manifest" and "rootfs"/],
  ["Rootfs/x", /beside "manifest" and "rootfs"/],
  ["rootfs\\..\\x", /beside "manifest" and "rootfs"/],
  ["manifest/x", /beside "manifest" and "rootfs"/],
];

function* waysOut(): Generator<HostileImage> {
  for (const [name, message] of WAYS_OUT) {
    yield refused(`a file called ${name}`, message, () => image(file(name)));
    yield refused(`a directory called ${name}`, message, () => image(dir(name)));
    yield refused(`a symbolic link called ${name}`, message, () => image(symlink(name, "target")));
    yield refused(`a hard link called ${name}`, message, () => image(file("rootfs/a"), hardLink(name, "rootfs/a")));
  }
  for (const [what, bytes] of [
    ["pax path", "../../x"],
    ["pax path, absolute", "/etc/x"],
  ] as const)
    yield refused(`a ${what}`, /has a component "\.\."|is absolute/, () => image(pax("rootfs/x", { path: bytes })));
  yield refused("a GNU long name with ..", /has a component "\.\."/, () =>
    image(file("././@LongLink", "rootfs/../../x\0", { type: "L" }), file("rootfs/x")),
  );
}

// --- ways through links -------------------------------------------------------------

const TWICE = /is in the archive twice|is in it twice/;
const OUTSIDE = /outside of the image's rootfs/;

function* throughLinks(): Generator<HostileImage> {
  const targets: [string, (victim: string) => string][] = [
    ["the victim", (victim) => victim],
    ["/", () => "/"],
    ["..", () => "../../../../../.."],
    ["/proc/self/root", () => "/proc/self/root"],
    ["/proc/self/cwd", () => "/proc/self/cwd"],
    ["/proc/1/root", () => "/proc/1/root"],
    ["/dev/fd", () => "/dev/fd"],
    ["itself", () => "way"],
  ];
  for (const [what, target] of targets) {
    yield refused(`a file through a link to ${what}`, TWICE, (victim) =>
      image(symlink("rootfs/way", target(victim)), file("rootfs/way/secret", "overwritten")),
    );
    yield refused(`a directory through a link to ${what}`, TWICE, (victim) =>
      image(symlink("rootfs/way", target(victim)), dir("rootfs/way/dir", { mode: 0o777 })),
    );
    yield refused(`a link over a link to ${what}`, TWICE, (victim) =>
      image(symlink("rootfs/way", target(victim)), symlink("rootfs/way", "other")),
    );
    yield refused(`a file over a link to ${what}`, TWICE, (victim) =>
      image(symlink("rootfs/way", target(victim)), file("rootfs/way", "overwritten")),
    );
    yield refused(
      `a hard link to what is behind a link to ${what}`,
      /cannot write|which is not there|ELOOP|ENOENT/,
      (victim) => image(symlink("rootfs/way", target(victim)), hardLink("rootfs/h", "rootfs/way/secret")),
    );
    yield kept(`a link to ${what} is data`, ["etc l 0777 "], (victim) => image(symlink("rootfs/etc", target(victim))));
  }
  for (const link of [
    "/etc/shadow",
    "../secret",
    "rootfs/../../../etc/shadow",
    "..",
    "/",
    "rootfs/..",
    "./../x",
    "manifest",
  ])
    yield refused(`a hard link to ${link}`, OUTSIDE, () => image(hardLink("rootfs/h", link)));
  for (const link of ["rootfs/later", "rootfs/h", "rootfs/no/such"])
    yield refused(`a hard link to ${link}, which is not there yet`, /which is not there/, () =>
      image(hardLink("rootfs/h", link), file("rootfs/later")),
    );
  yield refused("a hard link to a directory", /cannot write|is a directory|EPERM/, () =>
    image(dir("rootfs/d"), hardLink("rootfs/h", "rootfs/d")),
  );
  yield refused("a hard link to the root", OUTSIDE, () => image(hardLink("rootfs/h", "rootfs")));
  yield refused("a hard link to nothing", /link to nothing/, () => image(hardLink("rootfs/h", "")));
  yield refused("a symbolic link to nothing", /link to nothing/, () => image(symlink("rootfs/s", "")));
  yield refused("a directory turned into a link, then used", TWICE, (victim) =>
    image(dir("rootfs/d"), file("rootfs/d/a"), symlink("rootfs/d", victim), file("rootfs/d/secret", "overwritten")),
  );
  yield kept("a hard link to a symbolic link stays one", ["h l 0777 ", "s l 0777 "], (victim) =>
    image(symlink("rootfs/s", `${victim}/secret`), hardLink("rootfs/h", "rootfs/s")),
  );
  yield refused("the root as a link", /rootfs is a symlink/, (victim) =>
    tar([{ name: "manifest", data: manifest() }, symlink("rootfs", victim), file("rootfs/secret", "overwritten")]),
  );
  yield refused("the root as a file", /rootfs is a file/, () =>
    tar([{ name: "manifest", data: manifest() }, file("rootfs"), file("rootfs/x")]),
  );
}

// --- one name, several things ----------------------------------------------------------

function* confusion(): Generator<HostileImage> {
  const things: [string, (name: string) => Entry][] = [
    ["a file", (name) => file(name)],
    ["a directory", (name) => dir(name)],
    ["a link", (name) => symlink(name, "/tmp")],
    ["a hard link", (name) => hardLink(name, "rootfs/other")],
    ["a FIFO", (name) => ({ name, type: "6" })],
    ["a device", (name) => device(name, "3", 1, 3)],
  ];
  for (const [first, make] of things)
    for (const [second, over] of things) {
      if (first === "a directory" && second === "a directory") continue;
      yield refused(`${second} over ${first}`, TWICE, () =>
        image(file("rootfs/other"), make("rootfs/same"), over("rootfs/same")),
      );
    }
  yield kept("a directory named twice", ["d d 0700 ", "d/f f 0644 "], () =>
    image(dir("rootfs/d"), file("rootfs/d/f"), dir("rootfs/d", { mode: 0o700 })),
  );
  yield refused("the same file by another spelling", TWICE, () => image(file("rootfs/a/b"), file("rootfs//a/./b")));
  for (const [what, entry] of things.filter(([what]) => what !== "a directory"))
    yield refused(`a file below ${what}`, /twice|ENOTDIR|cannot write/, () =>
      image(file("rootfs/other"), entry("rootfs/a"), file("rootfs/a/b")),
    );
}

// --- names ---------------------------------------------------------------------------

function* names(): Generator<HostileImage> {
  yield refused("NUL in a pax path", /contains NUL/, () => image(pax("rootfs/x", { path: "rootfs/a\0b" })));
  yield refused("a component of 256 bytes", /component of 256 bytes/, () =>
    image(pax("rootfs/x", { path: `rootfs/${"n".repeat(256)}` })),
  );
  yield refused("a name of 5000 bytes", /bytes long/, () =>
    image(pax("rootfs/x", { path: `rootfs/${"n/".repeat(2500)}` })),
  );
  yield refused("600 directories deep", /more than 512 components/, () =>
    image(pax("rootfs/x", { path: `rootfs/${"d/".repeat(600)}x` })),
  );
  yield kept("bytes that are no UTF-8", ["\u{fffd}\u{fffd} f 0644 "], () =>
    image(file(Buffer.from([...Buffer.from("rootfs/"), 0xff, 0xfe]))),
  );
  yield kept("names that would be options", ["--help f 0644 ", "-rf f 0644 "], () =>
    image(file("rootfs/-rf"), file("rootfs/--help")),
  );
  yield kept("a name with a newline and escapes", ["\u001b[31m\nred f 0644 "], () =>
    image(file("rootfs/\x1b[31m\nred")),
  );
  yield kept(
    "names that objects have",
    ["__proto__ d 0755 ", "__proto__/constructor f 0644 ", "toString f 0644 "],
    () => image(file("rootfs/__proto__/constructor"), file("rootfs/toString")),
  );
  yield kept("a trailing dot and slashes", ["a. f 0644 ", "b d 0755 "], () =>
    image(file("rootfs/a."), dir("rootfs/b///")),
  );
  yield kept("an AUFS whiteout is a file", [".wh.etc f 0644 ", ".wh..wh..opq f 0644 "].sort(), () =>
    image(file("rootfs/.wh.etc"), file("rootfs/.wh..wh..opq")),
  );
  yield refused("an error that names a terminal's escapes", /is absolute/, () => image(file("/\x1b]0;owned\x07")));
}

// --- headers that lie --------------------------------------------------------------------

const field = (offset: number, bytes: string | Buffer) => (header: Buffer) => {
  Buffer.from(bytes).copy(header, offset);
};
const SIZE = 124;
const MTIME = 136;
const UID = 108;
const CHECKSUM = 148;
const MODE = 100;
/** base-256, negative: -1. */
const MINUS_ONE = (length: number): Buffer => Buffer.alloc(length, 0xff);
const HUGE = (length: number): Buffer => Buffer.concat([Buffer.from([0x80]), Buffer.alloc(length - 1, 0xff)]);

function* headers(): Generator<HostileImage> {
  const bad: [string, Partial<Entry>, RegExp][] = [
    ["a negative size", { patch: field(SIZE, MINUS_ONE(12)) }, /negative size/],
    ["a size beyond 2^53", { patch: field(SIZE, HUGE(12)) }, /beyond 2\^53/],
    ["a size that is no number", { patch: field(SIZE, "garbage!    ") }, /has the number/],
    ["a size in hexadecimal", { patch: field(SIZE, "0x10\0\0\0\0\0\0\0\0") }, /has the number/],
    [
      "a size of 2 TB",
      { patch: field(SIZE, Buffer.concat([Buffer.from([0x80, 0, 0, 0, 0, 0, 2]), Buffer.alloc(5)])) },
      /more than|cut short/,
    ],
    ["a negative owner", { patch: field(UID, MINUS_ONE(8)) }, /negative|no user or group ID/],
    ["an owner beyond 32 bits", { patch: field(UID, HUGE(8)) }, /beyond 2\^53|no user or group ID/],
    ["a mode that is no number", { patch: field(MODE, "rwxr-xr-") }, /has the number/],
    ["a pax size that is no number", { pax: { size: "-1" } }, /is no number/],
    ["a pax size of 30 digits", { pax: { size: "9".repeat(30) } }, /is no number/],
    ["a pax owner of 2^32", { pax: { uid: "4294967296" } }, /no user or group ID/],
    ["a pax time that is no number", { pax: { mtime: "NaN" } }, /is no time/],
    ["a pax time in the year 10^9", { pax: { mtime: "31556952000000000" } }, /is no time/],
    ["a pax time of infinity", { pax: { mtime: "Infinity" } }, /is no time/],
    ["an unknown type", { type: "V" }, /type "V" are not supported/],
    ["an old GNU directory dump", { type: "D" }, /type "D" are not supported/],
    ["a continued file", { type: "M" }, /type "M" are not supported/],
  ];
  for (const [what, over, message] of bad) yield refused(what, message, () => image({ ...file("rootfs/x"), ...over }));
  yield refused("a wrong checksum", /checksum|damaged/, () => {
    const bytes = image(file("rootfs/x"));
    bytes.write("000000", 512 * 2 + 512 * Math.ceil(manifest().length / 512) + CHECKSUM, "latin1");
    return bytes;
  });
  yield refused(
    "a pax size that disagrees: the archive is cut short",
    /cut short|twice|not a tar|damaged|checksum/,
    () => image(pax("rootfs/x", { size: "4096" }, { data: "x" }), file("rootfs/y")),
  );
  yield refused("the same pax record twice", /twice/, () => {
    const record = (key: string, value: string): string => {
      const body = ` ${key}=${value}\n`;
      return `${body.length + 2}${body}`;
    };
    return image(file("pax", record("path", "rootfs/a") + record("path", "rootfs/b"), { type: "x" }), file("rootfs/x"));
  });
  for (const [what, text] of [
    ["of length 0", "0 path=x\n"],
    ["longer than its header", "99 path=rootfs/x\n"],
    ["without a newline", "15 path=rootfs/x"],
    ["without an equals sign", "7 path\n"],
    ["of length 10^30", `${"9".repeat(30)} path=x\n`],
  ] as const)
    yield refused(`a pax record ${what}`, /extended header is damaged/, () =>
      image(file("pax", text, { type: "x" }), file("rootfs/x")),
    );
  yield refused("a pax header of 20 MB", /extended header is \d+ bytes/, () =>
    image(file("pax", "x".repeat(20_000_000), { type: "x" }), file("rootfs/x")),
  );
  yield refused("a long name of 20 MB", /extended header is \d+ bytes/, () =>
    image(file("././@LongLink", "x".repeat(20_000_000), { type: "L" }), file("rootfs/x")),
  );
  yield kept("a pax header and then nothing", [], () =>
    tar([{ name: "manifest", data: manifest() }, rootfs, file("pax", "17 path=rootfs/x\n", { type: "x" })]),
  );
  yield kept("what comes after the end does not count", [], () => Buffer.concat([image(), image(file("rootfs/x"))]));
  yield refused("a directory with data", /has no data, but its size is|checksum of a header is wrong/, () =>
    image(dir("rootfs/d", { data: "x" })),
  );
  yield refused("a link with data", /has no data, but its size is/, () =>
    image({ ...symlink("rootfs/s", "t"), data: "x" }),
  );
  for (const [what, over, line] of [
    ["a time before the epoch", { pax: { mtime: "-1.5" } }, "x f 0644 "],
    ["a time in the year 2514", { pax: { mtime: "17179869183" } }, "x f 0644 "],
    ["a negative time in the header", { patch: field(MTIME, MINUS_ONE(12)) }, "x f 0644 "],
    ["a mode with bits of a file's type", { mode: 0o170644 }, "x f 0644 "],
    ["setuid root", { mode: 0o4755 }, "x f 04755 "],
    ["setuid of another", { mode: 0o6711, uid: 1000, gid: 1000 }, "x f 06711 "],
    ["nobody may read", { mode: 0 }, "x f 0 "],
  ] as const)
    yield kept(what, [line], () => image({ ...file("rootfs/x"), ...over }));
  yield kept("a pax path over the header's name and a long name", ["pax f 0644 "], () =>
    image(
      file("././@LongLink", "rootfs/long\0", { type: "L" }),
      pax("rootfs/header", { path: "rootfs/pax" }, { data: "x" }),
    ),
  );
}

// --- sparse files ------------------------------------------------------------------------

const sparse1 = (map: string, realSize: string, data = ""): Entry => ({
  name: "rootfs/GNUSparseFile.0/s",
  data: map.padEnd(512, "\0") + data,
  pax: {
    "GNU.sparse.major": "1",
    "GNU.sparse.minor": "0",
    "GNU.sparse.name": "rootfs/s",
    "GNU.sparse.realsize": realSize,
  },
});

function* sparseFiles(): Generator<HostileImage> {
  const bad: [string, string, string, string, RegExp][] = [
    ["beyond its size", "1\n4096\n512\n", "512", "x".repeat(512), /out of order or bounds/],
    ["overlapping", "2\n0\n512\n256\n512\n", "4096", "x".repeat(1024), /out of order or bounds/],
    ["backwards", "2\n1024\n512\n0\n512\n", "4096", "x".repeat(1024), /out of order or bounds/],
    ["with less data than it says", "1\n0\n1024\n", "4096", "x".repeat(512), /map says/],
    ["with more data than it says", "1\n0\n1\n", "4096", "x".repeat(1024), /map says/],
    ["of 10^9 pieces", "1000000000\n", "4096", "", /map is/],
    ["that is no number", "one\n", "4096", "", /is no number/],
    ["that is negative", "-1\n", "4096", "", /is no number/],
    ["that never ends", "7".repeat(511), "4096", "", /map is|is no number/],
    ["of 8 MB without a newline", "7".repeat(8 << 20), "4096", "", /is no number/],
    ["of 8 MB of newlines", "\n".repeat(8 << 20), "4096", "", /is no number/],
    ["that is cut short", `500\n${"0\n".repeat(254)}`, "4096", "", /cut short/],
    ["with NUL between its numbers", `1\n${"\0".repeat(510)}0\n0\n`, "4096", "", /is no number/],
  ];
  for (const [what, map, size, data, message] of bad)
    yield refused(`a sparse map ${what}`, message, () => image(sparse1(map, size, data)));
  yield refused("a hole of 2 TB", /more than/, () => image(sparse1("0\n", String(2 * 1024 ** 4))));
  yield kept("a hole of 1 TB takes no room", ["s f 0644 "], () => image(sparse1("0\n", String(1024 ** 4))));
  yield refused("a sparse name with ..", /has a component "\.\."/, () => {
    const entry = sparse1("0\n", "512");
    return image({ ...entry, pax: { ...entry.pax, "GNU.sparse.name": "rootfs/../../x" } });
  });
  yield refused("an unknown sparse format", /unknown sparse format/, () => {
    const entry = sparse1("0\n", "512");
    return image({ ...entry, pax: { ...entry.pax, "GNU.sparse.major": "2" } });
  });
}

// --- global headers ----------------------------------------------------------------------

/** Global records "KEY=VALUE" of one length, in one header. */
const globals = (...records: string[]): Entry =>
  file("pax", records.map((record) => `${String(record.length + 6).padStart(4, "0")} ${record}\n`).join(""), {
    type: "g",
  });

function* globalHeaders(): Generator<HostileImage> {
  const many = (count: number, prefix: string, from = 0) =>
    globals(...Array.from({ length: count }, (_, i) => `${prefix}${from + i}=v`));
  const entries = Array.from({ length: 3000 }, (_, i) => file(`rootfs/${i}`, ""));
  for (const prefix of ["comment", "SCHILY.xattr.user.k"])
    yield refused(`30,000 global records ${prefix}*, for 3,000 entries`, /more than 64 global records/, () =>
      image(many(30_000, prefix), ...entries),
    );
  yield refused("65 global records in as many headers", /more than 64 global records/, () =>
    image(...Array.from({ length: 65 }, (_, i) => many(1, "k", i)), file("rootfs/x")),
  );
  yield refused("global records of 80 kB", /global records have more than/, () =>
    image(...Array.from({ length: 10 }, (_, i) => globals(`k${i}=${"v".repeat(8000)}`)), file("rootfs/x")),
  );
  yield kept("one global record, 10,000 times", ["x f 0644 "], () =>
    image(...Array.from({ length: 10_000 }, () => globals("comment=a commit")), file("rootfs/x")),
  );
  yield kept("long names and headers that others replace, 10,000 times", ["x f 0644 "], () =>
    image(
      ...Array.from({ length: 10_000 }, (_, i) => [
        file("././@LongLink", `rootfs/${i}\0`, { type: "L" }),
        file("././@LongLink", `rootfs/${i}\0`, { type: "K" }),
        file("pax", "17 path=rootfs/x\n", { type: "x" }),
      ]).flat(),
      file("rootfs/y"),
    ),
  );
}

// --- attributes and devices -----------------------------------------------------------------

function* attributes(): Generator<HostileImage> {
  const NOT_ALLOWED = /is not allowed in an image/;
  for (const name of [
    "trusted.overlay.opaque",
    "trusted.overlay.redirect",
    "trusted.overlay.metacopy",
    "trusted.overlay.origin",
    "user.overlay.opaque",
    "user.overlay.whiteout",
    "system.nfs4_acl",
    "os2.x",
    "nonsense",
  ])
    yield refused(`the attribute ${name}`, NOT_ALLOWED, () =>
      image(pax("rootfs/x", { [`SCHILY.xattr.${name}`]: "y" }, { data: "x" })),
    );
  yield refused("an attribute's name of 300 bytes", /cannot write|ERANGE|ENAMETOOLONG/, () =>
    image(pax("rootfs/x", { [`SCHILY.xattr.user.${"n".repeat(300)}`]: "y" }, { data: "x" })),
  );
  yield refused("an attribute of 70 kB", /has more than 65536 bytes/, () =>
    image(pax("rootfs/x", { "SCHILY.xattr.user.big": "y".repeat(70_000) }, { data: "x" })),
  );
  yield refused(
    "140 MB of attributes of directories, which are set last",
    /names and attributes are longer than/,
    () => {
      const value = "y".repeat(60_000);
      const directories = Array.from({ length: 2400 }, (_, i) =>
        tar([pax(`rootfs/d${i}`, { "SCHILY.xattr.user.big": value }, { type: "5" })], { end: false }),
      );
      const start = makeAci([file("rootfs/ratio", "", { data: randomBytes(1_000_000) })]).subarray(0, -1024);
      return gzipSync(Buffer.concat([start, ...directories, tar([])]), { level: 1 });
    },
  );
  yield refused("file capabilities that are garbage", /cannot write|EINVAL/, () =>
    image(pax("rootfs/x", { "SCHILY.xattr.security.capability": "garbage" }, { data: "x" })),
  );
  yield refused("an access list that is garbage", /cannot write|EINVAL/, () =>
    image(pax("rootfs/x", { "SCHILY.xattr.system.posix_acl_access": "garbage" }, { data: "x" })),
  );
  yield refused("an overlay's whiteout", /whiteout/, () => image(device("rootfs/etc", "3", 0, 0)));
  yield kept("devices are made, for an app that may use none of them", ["mem c 0644 ", "sda b 0644 "], () =>
    image(device("rootfs/mem", "3", 1, 1), device("rootfs/sda", "4", 8, 0)),
  );
  yield kept("a FIFO does not stop the one who unpacks", ["f p 0644 "], () => image({ name: "rootfs/f", type: "6" }));
}

// --- manifests ---------------------------------------------------------------------------------

const withManifest = (text: string | Buffer): Buffer => tar([{ name: "manifest", data: text }, rootfs]);

function* manifests(): Generator<HostileImage> {
  const app = (over: object) => manifest({ app: { exec: ["/bin/true"], user: "0", group: "0", ...over } });
  const bad: [string, string | Buffer, RegExp][] = [
    ["that is empty", "", /manifest/],
    ["that is no JSON", "{", /manifest/],
    ["that is a list", "[]", /manifest/],
    ["that is null", "null", /manifest/],
    ["of 100,000 brackets", "[".repeat(100_000), /manifest/],
    ["with a key twice", manifest().replace('"name"', '"name":"example.com/other","name"'), /twice|duplicate/],
    ["that is no UTF-8", Buffer.from([0x7b, 0xff, 0x7d]), /manifest|UTF-8|encoded/],
    ["of another kind", manifest({ acKind: "PodManifest" }), /acKind/],
    ["of no version", manifest({ acVersion: "99" }), /acVersion/],
    ["with a name that is a path", manifest({ name: "../../etc/passwd" }), /name/],
    ["with a name of escapes", manifest({ name: "\x1b[2J" }), /name/],
    ["with a name that makes no file name", manifest({ name: "a".repeat(1000) }), /name of app .* is longer than/],
    ["with a name of a million parts", manifest({ name: `${"a/".repeat(1_000_000)}a` }), /at most 1024 characters/],
    ["with NUL in exec", app({ exec: ["/bin/\0true"] }), /exec/],
    ["with an exec that is a number", app({ exec: [1] }), /exec/],
    ["with an exec that is an object", app({ exec: { length: 1, 0: "/bin/sh" } }), /exec/],
    ["with a relative working directory", app({ workingDirectory: "../.." }), /workingDirectory/],
    ["with a variable called A=B", app({ environment: [{ name: "A=B", value: "x" }] }), /environment/],
    ["with NUL in a variable", app({ environment: [{ name: "A", value: "\0" }] }), /environment/],
    ["with a mount point at ..", app({ mountPoints: [{ name: "m", path: "/../../etc" }] }), /mountPoints/],
    ["with a relative mount point", app({ mountPoints: [{ name: "m", path: "etc" }] }), /mountPoints/],
    ["with a mount point's name that is a path", app({ mountPoints: [{ name: "../m", path: "/m" }] }), /mountPoints/],
    ["with a port of 65536", app({ ports: [{ name: "p", protocol: "tcp", port: 65536 }] }), /ports/],
    ["with a port of 1e99", app({ ports: [{ name: "p", protocol: "tcp", port: 1e99 }] }), /ports/],
    ["with a user of newlines", app({ user: "0\nroot" }), /user/],
    ["with an event of its own", app({ eventHandlers: [{ name: "../init", exec: ["/x"] }] }), /eventHandlers/],
    ["with a limit of -1", app({ isolators: [{ name: "resource/memory", value: { limit: "-1" } }] }), /isolators/],
    ["with a whitelist of ..", manifest({ pathWhitelist: ["../../etc/shadow"] }), /pathWhitelist/],
    ["with a name that is an argument", manifest({ name: "--bind=/" }), /name/],
    ["with a name of mount options", manifest({ name: "a,lowerdir=/" }), /name/],
    ["with a name that is a unit's specifier", manifest({ name: "%n" }), /name/],
    ["with a name of two lines", manifest({ name: "a\n[Service]" }), /name/],
    ["with a label that would be a path", manifest({ labels: [{ name: "../x", value: "y" }] }), /labels/],
    ["with an operating system of escapes", manifest({ labels: [{ name: "os", value: "\x1b[2J" }] }), /os/],
    ["with a port's name of two lines", app({ ports: [{ name: "p\nx", protocol: "tcp", port: 80 }] }), /ports/],
    ["with a user of escapes", app({ user: "\x1b[2J" }), /user/],
    ["with a user that is a path upwards of two lines", app({ user: "/..\n" }), /user/],
    ["with a group beyond 32 bits", app({ supplementaryGIDs: [2 ** 32] }), /supplementaryGIDs/],
    ["with a mount point of two lines", app({ mountPoints: [{ name: "m", path: "/a\nb" }] }), /mountPoints/],
    [
      "with a kernel parameter of the host",
      app({ isolators: [{ name: "os/unix/sysctl", value: { "kernel.core_pattern": "|/x" } }] }),
      /sysctl|core_pattern/,
    ],
    ["with a dependency on a path", manifest({ dependencies: [{ imageName: "../x" }] }), /dependencies/],
  ];
  for (const [what, text, message] of bad) yield refused(`a manifest ${what}`, message, () => withManifest(text));
  yield refused("a manifest of 20 MB", /its manifest has more than/, () => withManifest(" ".repeat(20_000_000)));
  yield refused("no manifest", /no manifest/, () => tar([rootfs]));
  yield refused("two manifests", /two manifests/, () =>
    tar([
      { name: "manifest", data: manifest() },
      rootfs,
      { name: "manifest", data: manifest({ name: "example.com/b" }) },
    ]),
  );
  yield refused("two manifests, the second spelled ./manifest", /two manifests/, () =>
    tar([{ name: "manifest", data: manifest() }, rootfs, { name: "./manifest", data: manifest() }]),
  );
  yield refused("a manifest that is a link", /manifest is a symlink/, () =>
    tar([symlink("manifest", "/etc/passwd"), rootfs]),
  );
  yield refused("a manifest that is a hard link", /manifest is a link/, () =>
    tar([hardLink("manifest", "rootfs/m"), rootfs]),
  );
  yield refused("a manifest that is a FIFO", /manifest is a fifo/, () =>
    tar([{ name: "manifest", type: "6" }, rootfs]),
  );
  yield kept("a manifest at the end", ["x f 0644 "], () =>
    tar([rootfs, file("rootfs/x"), { name: "manifest", data: manifest() }]),
  );
  yield kept("keys that objects have", [], () =>
    withManifest(manifest().replace("{", '{"__proto__":{"name":"example.com/polluted"},"constructor":1,')),
  );
  // Only tcp and udp are ever listened on or published.
  yield kept("a protocol of two lines", [], () =>
    withManifest(app({ ports: [{ name: "p", protocol: "tcp\nx", port: 80 }] })),
  );
  yield kept("values that would be unit lines", [], () =>
    withManifest(
      app({
        environment: [{ name: "A", value: "x\n[Service]\nExecStart=/bin/evil %i $HOME $" + "{X} \\" }],
        exec: ["/bin/true", "a\nExecStartPre=/bin/evil", "; rm -rf /", "%n", "'\"\\"],
      }),
    ),
  );
}

// --- bombs --------------------------------------------------------------------------------------

function* bombs(): Generator<HostileImage> {
  yield refused("gzip of 300 MB of zeros", /times|ratio|larger|expands/, () =>
    gzipSync(image(file("rootfs/zeros", "\0".repeat(300_000_000))), { level: 9 }),
  );
  yield refused("gzip of zeros without end", /not a tar archive|times|cut short|end marker|ratio|expands/, () =>
    gzipSync(Buffer.alloc(300_000_000), { level: 9 }),
  );
  yield kept("gzip in two members is one stream", ["x f 0644 "], () => {
    const bytes = image(file("rootfs/x"));
    return Buffer.concat([gzipSync(bytes.subarray(0, 700)), gzipSync(bytes.subarray(700))]);
  });
  yield refused("files in 84,000 directories that have no entries", /times its size, with \d+ directories that it has no entries for/, () =>
    gzipSync(image(...Array.from({ length: 2000 }, (_, i) => file(`rootfs/${i}${"/a".repeat(41)}/f`, ""))), { level: 9 }),
  );
  yield refused("gzip within gzip", /not a tar archive/, () => gzipSync(gzipSync(image(file("rootfs/x")))));
  yield refused("gzip with garbage after it", /garbage|trailing|corrupt|incorrect|damaged|header/, () =>
    Buffer.concat([gzipSync(image(file("rootfs/x"))), Buffer.from("garbage")]),
  );
  yield kept(
    "20,000 entries",
    ["d d 0755 ", ...Array.from({ length: 20_000 }, (_, i) => `d/${i} f 0644 `)].sort(),
    () => image(...Array.from({ length: 20_000 }, (_, i) => file(`rootfs/d/${i}`, ""))),
  );
  yield refused("xz that wants to look back 4 GiB", /more than 256MiB of memory/, () => {
    const packed = execFileSync("xz", ["-c"], { input: image(file("rootfs/x")) });
    // The block's header (The .xz File Format, 3.1): its size, flags, one filter, LZMA2, with one byte of properties.
    const header = packed.subarray(12, 12 + (packed.readUInt8(12) + 1) * 4);
    const lzma2 = header.indexOf(Buffer.from([0x21, 0x01]));
    header[lzma2 + 2] = 40;
    header.writeUInt32LE(crc32(header.subarray(0, -4)), header.length - 4);
    return packed;
  });
  yield refused("60,000 names of 4 KB, and a stranger at the end", /beside "manifest" and "rootfs"/, () => {
    const deep = `rootfs/${`${"d".repeat(254)}/`.repeat(15)}`;
    const long = (i: number) =>
      tar([file("././@LongLink", `${deep}${i}\0`, { type: "L" }), file("rootfs/x", "")], { end: false });
    const parts = Array.from({ length: 60_000 }, (_, i) => long(i));
    const start = makeAci([file("rootfs/ratio", "", { data: randomBytes(2_000_000) })]).subarray(0, -1024);
    return gzipSync(Buffer.concat([start, ...parts, tar([file("stranger")])]), { level: 1 });
  });
  yield kept("500 directories deep", Array.from({ length: 500 }, (_, i) => `${"d/".repeat(i)}d d 0755 `).sort(), () =>
    image(pax("rootfs/x", { path: `rootfs/${"d/".repeat(500)}` }, { type: "5" })),
  );
}

const AFTER_IMPORT = [
  "a manifest with a name that makes no file name",
  "a manifest with a limit of -1",
  "a manifest with an operating system of escapes",
  "a manifest with a kernel parameter of the host",
];

const byWholeCommand = (images: Iterable<HostileImage>, which: (image: HostileImage) => boolean): HostileImage[] =>
  [...images].map((one) => (which(one) ? { ...one, wholeCommand: true } : one));

export const hostileImages: readonly HostileImage[] = [
  ...waysOut(),
  ...throughLinks(),
  ...confusion(),
  ...names(),
  ...headers(),
  ...sparseFiles(),
  ...globalHeaders(),
  ...attributes(),
  ...byWholeCommand(manifests(), ({ name, kept }) => kept !== undefined || AFTER_IMPORT.includes(name)),
  ...byWholeCommand(bombs(), () => true),
];
