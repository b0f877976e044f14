/**
 * SQLite writes the table: compared with what table.ts writes of the same
 * images, for chosen borders and for generated images.
 */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { random, seed } from "../../test/faults/random.ts";
import { printable } from "../../shared/errors.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { shortId } from "../../shared/contract/image-ids.ts";
import { ago, bytes, table } from "../terminal/table.ts";
import { IMAGE_ORDERS, type ImageOrder, type ImageTableOptions, imageTable } from "./image-table.ts";
import { makeStoreDirectories } from "../host/data-directory.ts";
import { type IndexDb, openIndex } from "./index-db.ts";

interface Image {
  key: string;
  name: string;
  version: string | null;
  size: number;
  importedAt: number;
  usedAt: number;
  digest?: string | null;
}

const NOW = 1_795_000_000_123;

function indexOf(t: TestContext, images: readonly Image[]): IndexDb {
  const dir = mkdtempSync(join(tmpdir(), "rkt-table-"));
  makeStoreDirectories(dir);
  const db = openIndex(dataLayout(dir), () => {});
  t.after(() => {
    db.close();
    rmSync(dir, { recursive: true });
  });
  insert(db, images);
  return db;
}

function insert(db: IndexDb, images: readonly Image[]): void {
  db.transaction(() => {
    for (const { key, name, version, size, importedAt, usedAt, digest = null } of images) {
      const values = [key, key, name, version, "[]", size, importedAt, usedAt, 0, digest];
      db.run("INSERT INTO images VALUES (?,?,?,?,?,?,?,?,?,?)", ...values);
    }
  });
}

/** Images of sizes and times at and around every border. */
function borderImages(): Image[] {
  const borders = [0, 1024, 1024 ** 2, 1024 ** 3, 1024 ** 4].flatMap((unit) =>
    [1, 9.95, 10, 99.95, 99.96, 100, 999.5, 1000, 1023.5].flatMap((n) =>
      [-1, 0, 1].map((d) => Math.floor(n * unit) + d),
    ),
  );
  const ages = [1, 1000, 60_000, 3_600_000, 86_400_000].flatMap((unit) =>
    [-1, 0, 1, 1.5, 2, 9, 10, 23, 24, 59, 60, 100].flatMap((n) => [-1, 0, 1].map((d) => Math.floor(n * unit) + d)),
  );
  return ages.map((age, i) => ({
    key: `sha512-${createHash("sha256")
      .update(`${i % 61}-${i}`)
      .digest("hex")}`,
    name: `example.com/${"x".repeat(i % 7)}${i % 11}`,
    version: [null, "", "1.0", `0.${i}`][i % 4] ?? null,
    size: Math.max(0, borders[i % borders.length] ?? 0),
    importedAt: NOW - age,
    usedAt: NOW - (ages[(i * 7) % ages.length] ?? 0),
  }));
}

function expected(images: readonly Image[], { full, legend, by, descending, now }: ImageTableOptions): string {
  const title = ({ name, version }: Image) => (version === null || version === "" ? name : `${name}:${version}`);
  const value: Record<ImageOrder, (image: Image) => string | number> = {
    name: title,
    id: ({ key }) => key,
    size: ({ size }) => size,
    importtime: ({ importedAt }) => importedAt,
    lastused: ({ usedAt }) => usedAt,
  };
  const compare = (a: string | number, b: string | number) => (a < b ? -1 : a > b ? 1 : 0);
  const time = (at: number) => (full ? new Date(at).toISOString() : ago(at, now));
  const digests = images.some(({ digest }) => typeof digest === "string");
  const digestOf = ({ digest }: Image) => (full ? (digest ?? "") : (digest ?? "").slice(0, 19));
  const rows = [...images]
    .sort((a, b) => compare(value[by](a), value[by](b)) * (descending ? -1 : 1) || compare(a.key, b.key))
    .map((image) => [
      full ? image.key : shortId(image.key),
      title(image),
      ...(digests ? [digestOf(image)] : []),
      full ? String(image.size) : bytes(image.size),
      time(image.importedAt),
      time(image.usedAt),
    ]);
  const legends = ["ID", "NAME", ...(digests ? ["DIGEST"] : []), "SIZE", "IMPORTED", "LAST USED"];
  return table(legend ? legends : undefined, rows);
}

const both = [false, true];
const combinations: ImageTableOptions[] = IMAGE_ORDERS.flatMap((by) =>
  both.flatMap((descending) =>
    both.flatMap((full) => both.map((legend) => ({ by, descending, full, legend, now: NOW }))),
  ),
);

const image = (over: Partial<Image>): Image => ({
  key: `sha512-${"a".repeat(64)}`,
  name: "example.com/app",
  version: "1.0",
  size: 2048,
  importedAt: NOW - 5000,
  usedAt: NOW - 5000,
  ...over,
});

const cases: { name: string; images: Image[]; shows?: RegExp }[] = [
  { name: "none", images: [] },
  { name: "one, narrower than the legend", images: [image({ name: "a", version: null, size: 1 })] },
  { name: "all borders", images: borderImages() },
  ...[
    { version: "\u001b[31m1", shows: /app:\\x1b\[31m1 {2}/ },
    { version: "1\nsha512-fake", shows: /app:1\\nsha512-fake {2}/ },
    { version: "1\u0000\u001b[2J", shows: /app:1\\x00\\x1b\[2J {2}/ },
    { version: "\u007f", shows: /app:\\x7f {2}/ },
    { version: "\u202e1", shows: /app:\\u202e1 {2}/ },
    { version: "//user:secret@host", shows: /app:\/\/\*\*\*@host {2}/ },
    { version: "\u00fcber\ud83d\ude80", shows: /app:\u00fcber\ud83d\ude80 {2}/ },
  ].map(({ version, shows }) => ({
    name: `version ${printable(version)}`,
    images: [image({ version }), image({ key: `sha512-${"b".repeat(64)}` })],
    shows,
  })),
];

for (const { name, images, shows = /^/ } of cases)
  test(`image table of images: ${name}`, (t) => {
    const index = indexOf(t, images);
    for (const options of combinations) {
      const text = imageTable(index, options);
      assert.equal(text, expected(images, options), JSON.stringify(options));
      assert.match(text, shows);
    }
  });

/** What an author may write into a version, the characters that a table escapes among them. */
const VERSION_PARTS = [
  ...["1", ".", "-", "+", " ", "%", "'", '"', "/", "//", "://u:p@h", "|", "\\", "\n", "\t"],
  ...["\u0000", "\u001b[1m", "\u00e9", "\u202e", "\ud83d\ude80"],
];

/** Sizes and times of all magnitudes; some in the future. */
function generatedImages(next: () => number): Image[] {
  const below = (limit: number) => Math.floor(next() * limit);
  const magnitude = (bits: number) => Math.floor(2 ** (next() * bits));
  const version = () => {
    const parts = next() < 0.7 ? VERSION_PARTS.slice(0, 4) : VERSION_PARTS;
    return Array.from({ length: below(6) }, () => parts[below(parts.length)] ?? "").join("");
  };
  return Array.from({ length: below(40) }, (_, i) => ({
    key: `sha512-${createHash("sha256").update(`${next()} ${i}`).digest("hex")}`,
    name: `${"abc-~_./".charAt(below(3))}${"x/".repeat(below(9))}${below(30)}`,
    version: next() < 0.2 ? null : version(),
    size: next() < 0.1 ? 0 : magnitude(50),
    importedAt: NOW - (next() < 0.1 ? -magnitude(30) : magnitude(40)),
    usedAt: NOW - (next() < 0.1 ? -magnitude(30) : magnitude(40)),
  }));
}

test("image table of generated images", (t) => {
  t.diagnostic(`RKT_FAULTS_SEED=${seed}`);
  const index = indexOf(t, []);
  const next = random(0);
  for (let i = 0; i < 200; i++) {
    const images = generatedImages(next);
    index.run("DELETE FROM images");
    insert(index, images);
    const options = combinations[Math.floor(next() * combinations.length)] as ImageTableOptions;
    assert.equal(imageTable(index, options), expected(images, options), `${JSON.stringify(options)} of round ${i}`);
  }
});
