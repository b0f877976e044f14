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

const cases: { name: string; fields: Partial<HeaderFields>; pax: string }[] = [
  { name: "plain ustar needs no extension", fields: {}, pax: "" },
  { name: "100 characters fit", fields: { path: "p".repeat(100) }, pax: "" },
  { name: "101 do not", fields: { path: "p".repeat(101) }, pax: `111 path=${"p".repeat(101)}\n` },
  {
    name: "the length counts its own digits",
    fields: { path: "p".repeat(90) + "é" },
    pax: `102 path=${"p".repeat(90)}é\n`,
  },
  {
    name: "a long link",
    fields: { type: "symlink", linkpath: "l".repeat(150) },
    pax: `164 linkpath=${"l".repeat(150)}\n`,
  },
  { name: "8 GiB less one byte fit", fields: { size: 8 * 2 ** 30 - 1 }, pax: "" },
  { name: "8 GiB do not", fields: { size: 8 * 2 ** 30 }, pax: "19 size=8589934592\n" },
  { name: "big owners", fields: { uid: 2 ** 21, gid: 2 ** 31 }, pax: "15 uid=2097152\n18 gid=2147483648\n" },
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
];

for (const c of cases)
  test(c.name, () => {
    const bytes = header({ ...file, ...c.fields });
    const { pax, main } = read(bytes);
    assert.equal(pax, c.pax);
    assert.ok(main.cksumValid);
    assert.equal(main.mode, 0o644);
    assert.equal(bytes.length % BLOCK, 0);
  });

test("node-tar's own reader gets every record back", () => {
  const { pax } = read(header({ ...file, path: "ü".repeat(80), size: 2 ** 40, uid: 2 ** 30 }));
  const parsed = Pax.parse(pax);
  assert.deepEqual([parsed.path, parsed.size, parsed.uid], ["ü".repeat(80), 2 ** 40, 2 ** 30]);
});

test("GNU tar lists a device with its numbers", () => {
  const fields: HeaderFields = { ...file, path: "null", type: "character", mode: 0o666, major: 1, minor: 3 };
  const input = Buffer.concat([header(fields), Buffer.alloc(2 * BLOCK)]);
  const listing = execFileSync("tar", ["--list", "--verbose", "--numeric-owner", "--utc"], { input }).toString();
  assert.equal(listing, "crw-rw-rw- 0/0             1,3 1970-01-01 00:00 null\n");
});
