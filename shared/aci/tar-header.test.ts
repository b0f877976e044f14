import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { Header, Pax } from "tar";
import { BLOCK, type HeaderFields, header, padding } from "./tar-header.ts";

const file: HeaderFields = { path: "f", type: "file", mode: 0o644, uid: 0, gid: 0, size: 0, mtime: 0 };

/** What node-tar reads: the pax records, and the ustar header they precede. */
function read(bytes: Buffer): { pax: string; main: Header } {
  const first = new Header(bytes);
  if (first.type !== "ExtendedHeader") return { pax: "", main: first };
  const size = first.size ?? 0;
  return { pax: bytes.toString("utf8", BLOCK, BLOCK + size), main: new Header(bytes, BLOCK + size + padding(size)) };
}

/** The records with which node-tar's encoder completes a header, in its order. */
const records = (path: string, gid = 0, link = "", size = 0, uid = 0): string =>
  [`path=${path}`, `gid=${gid}`, ...(link === "" ? [] : [`linkpath=${link}`]), "mtime=0", `size=${size}`, `uid=${uid}`]
    .map((text) => {
      const rest = Buffer.byteLength(text) + 2;
      return `${rest + String(rest + String(rest).length).length} ${text}\n`;
    })
    .join("");

const cases: { name: string; fields: Partial<HeaderFields>; pax: string }[] = [
  { name: "plain ustar needs no extension", fields: {}, pax: "" },
  { name: "100 characters fit", fields: { path: `d/${"p".repeat(98)}` }, pax: "" },
  { name: "101 characters fit when ustar can split them", fields: { path: `d/${"p".repeat(99)}` }, pax: "" },
  { name: "a name of 101 characters does not", fields: { path: "p".repeat(101) }, pax: records("p".repeat(101)) },
  {
    name: "directories too long for one field, each with a short name",
    fields: { path: `${"d/".repeat(130)}f` },
    pax: records(`${"d/".repeat(130)}f`),
  },
  {
    name: "characters beyond ASCII; a length counts bytes, and its own digits",
    fields: { path: "p".repeat(90) + "é" },
    pax: `102 path=${"p".repeat(90)}é\n8 gid=0\n11 mtime=0\n9 size=0\n8 uid=0\n`,
  },
  {
    name: "a name with a newline and an equals sign",
    fields: { path: "é\n5 uid=1\n=" },
    pax: records("é\n5 uid=1\n="),
  },
  {
    name: "a long link",
    fields: { type: "symlink", linkpath: "l".repeat(150) },
    pax: records("f", 0, "l".repeat(150)),
  },
  { name: "8 GiB less one byte fit", fields: { size: 8 * 2 ** 30 - 1 }, pax: "" },
  { name: "8 GiB do not", fields: { size: 8 * 2 ** 30 }, pax: records("f", 0, "", 8 * 2 ** 30) },
  { name: "owners that fit", fields: { uid: 2 ** 21 - 1, gid: 2 ** 21 - 1 }, pax: "" },
  {
    name: "big owners",
    fields: { uid: 2 ** 21, gid: 2 ** 32 - 2 },
    pax: records("f", 2 ** 32 - 2, "", 0, 2 ** 21),
  },
  {
    name: "attributes, sorted, bytes as they are",
    fields: {
      xattrs: new Map([
        ["user.b", Buffer.from("=\n\0")],
        ["user.a", Buffer.alloc(0)],
      ]),
    },
    pax: "24 SCHILY.xattr.user.a=\n27 SCHILY.xattr.user.b==\n\0\n",
  },
  {
    name: "attributes come after what did not fit",
    fields: { path: "é", xattrs: new Map([["user.a", Buffer.from("x")]]) },
    pax: `${records("é")}25 SCHILY.xattr.user.a=x\n`,
  },
];

for (const c of cases)
  test(`tar header: ${c.name}`, () => {
    const bytes = header({ ...file, ...c.fields });
    const { pax, main } = read(bytes);
    assert.equal(pax, c.pax);
    assert.ok(main.cksumValid);
    assert.equal(main.mode, 0o644);
    assert.equal(bytes.length % BLOCK, 0);
  });

test("tar header: every byte of a header without extension", () => {
  const bytes = header({
    ...file,
    path: "rootfs/dir/",
    type: "directory",
    mode: 0o1755,
    uid: 7,
    gid: 2 ** 20,
    mtime: 9,
  });
  const text = (at: number, length: number) => bytes.toString("latin1", at, at + length);
  assert.equal(bytes.length, BLOCK);
  assert.deepEqual(
    [
      text(0, 100),
      text(100, 48),
      text(156, 1),
      text(157, 100),
      text(257, 8),
      text(265, 64),
      text(329, 16),
      text(345, 167),
    ],
    [
      "rootfs/dir/".padEnd(100, "\0"),
      ["001755 ", "000007 ", "4000000", "0000000000 ", "0000000011 "].map((number) => `${number}\x00`).join(""),
      "5",
      "\0".repeat(100),
      "ustar\0" + "00",
      "\0".repeat(64),
      "000000 \x00".repeat(2),
      "\0".repeat(167),
    ],
  );
});

test("tar header: the same fields give the same bytes, whoever asks", (t) => {
  const fields: HeaderFields = {
    ...file,
    path: "ü".repeat(80),
    mtime: 86_400,
    xattrs: new Map([["user.a", Buffer.of(255)]]),
  };
  const once = header(fields);
  const { geteuid } = process;
  process.geteuid = () => 1000;
  process.env["TZ"] = "Pacific/Kiritimati";
  t.after(() => {
    Object.assign(process, { geteuid });
    delete process.env["TZ"];
  });
  assert.ok(header(fields).equals(once));
});

test("tar header: node-tar's own reader gets every record back", () => {
  const { pax } = read(header({ ...file, path: "ü".repeat(80), size: 2 ** 40, uid: 2 ** 30 }));
  const parsed = Pax.parse(pax);
  assert.deepEqual([parsed.path, parsed.size, parsed.uid], ["ü".repeat(80), 2 ** 40, 2 ** 30]);
});

test("tar header: GNU tar lists devices with their numbers, big owners, and names of any length", () => {
  const members: Partial<HeaderFields>[] = [
    { path: "null", type: "character", mode: 0o666, major: 1, minor: 3 },
    { path: "sda", type: "block", mode: 0o660, major: 8, minor: 1_048_575 },
    { path: "owned", uid: 2 ** 32 - 2, gid: 2 ** 21 },
    { path: `${"d".repeat(120)}/${"e".repeat(90)}` },
    { path: `${"d".repeat(120)}/${"e".repeat(120)}/`, type: "directory" },
    { path: "ü", mtime: 2 ** 34 },
  ];
  const input = Buffer.concat([...members.map((over) => header({ ...file, ...over })), Buffer.alloc(2 * BLOCK)]);
  const listing = execFileSync("tar", ["--list", "--verbose", "--numeric-owner", "--utc", "--quoting-style=literal"], {
    input,
    env: { ...process.env, LC_ALL: "C" },
  }).toString();
  assert.deepEqual(
    listing.split("\n").map((line) => line.replace(/ +/g, " ")),
    [
      "crw-rw-rw- 0/0 1,3 1970-01-01 00:00 null",
      "brw-rw---- 0/0 8,1048575 1970-01-01 00:00 sda",
      "-rw-r--r-- 4294967294/2097152 0 1970-01-01 00:00 owned",
      `-rw-r--r-- 0/0 0 1970-01-01 00:00 ${"d".repeat(120)}/${"e".repeat(90)}`,
      `drw-r--r-- 0/0 0 1970-01-01 00:00 ${"d".repeat(120)}/${"e".repeat(120)}/`,
      "-rw-r--r-- 0/0 0 2514-05-30 01:53 ü",
      "",
    ],
  );
});

// --- what node-tar's encoder can't do (ADR 2): when one of these fails, it can ------------

/** node-tar's encoder with a record that its types do not have. */
const withRecord = (key: string, value: unknown) => new Pax(Object.assign({ path: "f" }, { [key]: value }));

test("node-tar can't write: extended attributes", () => {
  assert.equal(withRecord("SCHILY.xattr.user.a", "x").encodeBody(), "9 path=f\n");
});

test("node-tar can't write: values of any bytes, for they become text", () => {
  const pax = Object.assign(new Pax({}), { comment: Buffer.from([0xff, 0x00]) });
  const body = Buffer.from(pax.encodeField("comment"));
  assert.ok(!body.includes(0xff));
  assert.ok(body.includes("\ufffd"));
});

test("node-tar can't write: names of any bytes, for they are text", () => {
  const block = Buffer.alloc(BLOCK);
  new Header({ path: Buffer.from([0x66, 0xff]).toString(), type: "File", size: 0 }).encode(block);
  assert.equal(block.toString("latin1", 0, 5), "f\xef\xbf\xbd\0");
});

test("node-tar can't write: times with nanoseconds, for a Date has milliseconds", () => {
  const nanoseconds = 1_234_567_891n;
  const mtime = new Date(Number(nanoseconds) / 1e6);
  assert.equal(new Pax({ mtime }).encodeBody(), "15 mtime=1.234\n");
});

test("node-tar can't write: sparse files", () => {
  assert.equal(withRecord("GNU.sparse.map", "0,512").encodeBody(), "9 path=f\n");
  const block = Buffer.alloc(BLOCK);
  new Header({ path: "f", type: "SparseFile", size: 512 }).encode(block);
  assert.ok(
    block.subarray(386, 495).every((byte) => byte === 0),
    "neither a map nor the file's own size",
  );
});
