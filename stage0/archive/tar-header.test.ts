import assert from "node:assert/strict";
import { test } from "node:test";
import { tar } from "../../test/fixtures/aci.ts";
import { BLOCK, checksumIsRight, isZero, padding, TarHeader, textUpToNul } from "./tar-header.ts";

/** The header of an entry. */
const block = (entry: Parameters<typeof tar>[0][number]): Buffer => tar([entry]).subarray(0, BLOCK);

test("tar header: every field", () => {
  const header = new TarHeader(
    block({
      ...{ name: "name", type: "3", link: "target", mode: 0o4755, uid: 1, gid: 2, mtime: 3, size: 4 },
      device: [5, 6],
    }),
  );
  const { name, typeFlag, linkName, mode, uid, gid, size, mtime, major, minor } = header;
  assert.deepEqual(
    [name, typeFlag, linkName, mode, uid, gid, size, mtime, major, minor],
    ["name", "3", "target", 0o4755, 1, 2, 4, 3, 5, 6],
  );
});

const names: { name: string; magic: string; expected: string }[] = [
  { name: "POSIX", magic: "ustar\x0000", expected: "prefix/name" },
  { name: "POSIX with another version", magic: "ustar\0  ", expected: "prefix/name" },
  { name: "GNU", magic: "ustar  \0", expected: "name" },
  { name: "v7", magic: "\0".repeat(8), expected: "name" },
];
for (const { name, magic, expected } of names)
  test(`tar header: the prefix of ${name}`, () => {
    const patch = (header: Buffer) => {
      header.write(magic, 257, "latin1");
      header.write("prefix", 345, "latin1");
    };
    assert.equal(new TarHeader(block({ name: "name", patch })).name, expected);
  });

test("tar header: fields that are full have no NUL at the end", () => {
  const name = "n".repeat(100);
  const header = new TarHeader(block({ name, type: "2", link: "l".repeat(100) }));
  assert.deepEqual([header.name, header.linkName], [name, "l".repeat(100)]);
});

test("tar header: a wrong number is an error when it is read", () => {
  const header = new TarHeader(block({ name: "f", patch: (bytes) => bytes.write("x", 108, "latin1") }));
  assert.equal(header.gid, 0);
  assert.throws(() => header.uid, { message: 'a header has the number "x000000"' });
});

test("tar header: the checksum, of bytes with or without sign", () => {
  const bytes = Buffer.from(block({ name: Buffer.from("\xff\xfe", "latin1") }));
  assert.ok(checksumIsRight(bytes));
  const sum = (signed: boolean) => {
    const copy = Buffer.from(bytes).fill(" ", 148, 156);
    return copy.reduce((total, byte) => total + (signed && byte > 127 ? byte - 256 : byte), 0);
  };
  bytes.write(`${sum(true).toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  assert.ok(checksumIsRight(bytes));
  for (const wrong of [`${(sum(false) + 1).toString(8)}\0`, "x\0", "\0\0"])
    assert.ok(
      !checksumIsRight(
        Buffer.from(bytes)
          .fill(0, 148, 156)
          .fill(wrong, 148, 148 + wrong.length),
      ),
      wrong,
    );
});

test("blocks", () => {
  assert.deepEqual([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
  assert.ok(isZero(Buffer.alloc(BLOCK)));
  assert.ok(!isZero(Buffer.alloc(BLOCK).fill(1, BLOCK - 1)));
  assert.deepEqual(
    ["a\0b", "\0", "\xff"].map((text) => textUpToNul(Buffer.from(text, "latin1"))),
    ["a", "", "\xff"],
  );
});
