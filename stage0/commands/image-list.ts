import { shortId } from "../../shared/layout.ts";
import { type Command, readLine } from "../command.ts";
import { print } from "../output.ts";
import type { ImageSummary, StoredImage } from "../store/store.ts";
import { ago, bytes, table } from "../table.ts";

const SORT_KEYS = ["name", "id", "size", "importtime", "lastused"] as const;
type SortKey = (typeof SORT_KEYS)[number];

const options = {
  full: { type: "boolean", description: "whole hashes, bytes, times in RFC 3339" },
  "no-legend": { type: "boolean", description: "no line with the names of the columns" },
  format: { type: "string", choices: ["table", "json"], value: "FORMAT", description: "table (the default) or json" },
  sort: { type: "string", choices: SORT_KEYS, value: "COLUMN", description: `${SORT_KEYS.join(", ")} (importtime)` },
  order: {
    type: "string",
    choices: ["asc", "desc"],
    value: "asc|desc",
    description: "smallest or oldest first, or last",
  },
} as const;

export const command: Command = {
  usage: "image list [options]",
  description: "Lists the images in the store.",
  examples: [
    ["rkt image list", "the images, in the order they came"],
    ["rkt image list --sort=size --order=desc", "the biggest first"],
    ["rkt image list --format=json", "the same for a program"],
  ],
  options,
  operands: [0, 0],
  needsRoot: true,
  async run(line, globals) {
    const { options: given } = await readLine(line, options);
    const { openStore } = await import("../store/store.ts");
    const store = openStore(globals.dir);
    try {
      const by = (given.sort ?? "importtime") as SortKey;
      const descending = given.order === "desc";
      if (given.format === "json") print(asJson(store.list(), by, descending));
      else {
        const images = store.summaries();
        const inOrder = by === "importtime" && !descending;
        if (!inOrder)
          order(
            images,
            descending,
            (image) => image[COLUMN[by]],
            (image) => image[0],
          );
        print(asTable(images, given.full, !given["no-legend"]));
      }
    } finally {
      store.close();
    }
  },
};

const compare = (a: string | number, b: string | number): number => (a < b ? -1 : a > b ? 1 : 0);

/** Where a summary has what it is sorted by. */
const COLUMN = { name: 1, id: 0, size: 2, importtime: 3, lastused: 4 } as const satisfies Record<SortKey, number>;

function order<T>(images: T[], descending: boolean, by: (image: T) => string | number, key: (image: T) => string): T[] {
  const direction = descending ? -1 : 1;
  return images.sort((a, b) => direction * compare(by(a), by(b)) || compare(key(a), key(b)));
}

/** Takes the images apart: thousands of them are made into rows where they are. */
function asTable(images: ImageSummary[], full: boolean, legend: boolean): string {
  const now = Date.now();
  const time = full ? (at: number) => new Date(at).toISOString() : (at: number) => ago(at, now);
  const rows = images as unknown as string[][];
  for (const [i, [key, , size, importedAt, lastUsedAt]] of images.entries()) {
    const row = rows[i] as string[];
    if (!full) row[0] = shortId(key);
    row[2] = full ? String(size) : bytes(size);
    row[3] = time(importedAt);
    row[4] = time(lastUsedAt);
  }
  return table(legend ? ["ID", "NAME", "SIZE", "IMPORTED", "LAST USED"] : undefined, rows);
}

function asJson(images: StoredImage[], by: SortKey, descending: boolean): string {
  const value: Record<SortKey, (image: StoredImage) => string | number> = {
    name: (image) => image.name,
    id: (image) => image.key,
    size: (image) => image.size,
    importtime: (image) => image.importedAt,
    lastused: (image) => image.lastUsedAt,
  };
  const ordered = order(images, descending, value[by], (image) => image.key);
  return `${JSON.stringify(ordered.map(imageJson), undefined, 2)}\n`;
}

function imageJson({ id, name, labels, size, importedAt, lastUsedAt }: StoredImage): object {
  return {
    ...{ id, name, labels, size },
    imported: new Date(importedAt).toISOString(),
    lastUsed: new Date(lastUsedAt).toISOString(),
  };
}
