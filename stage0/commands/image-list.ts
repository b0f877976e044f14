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
      if (given.format === "json")
        print(`${JSON.stringify(sorted(store.list(), by, descending).map(imageJson), undefined, 2)}\n`);
      else print(asTable(sorted(store.summaries(), by, descending), given.full, !given["no-legend"]));
    } finally {
      store.close();
    }
  },
};

const compare = (a: string | number, b: string | number): number => (a < b ? -1 : a > b ? 1 : 0);

function sorted<T extends ImageSummary | StoredImage>(images: T[], by: SortKey, descending: boolean): T[] {
  const value: Record<SortKey, (image: T) => string | number> = {
    name: (image) => image.name,
    id: (image) => image.key,
    size: (image) => image.size,
    importtime: (image) => image.importedAt,
    lastused: (image) => image.lastUsedAt,
  };
  const of = value[by];
  const direction = descending ? -1 : 1;
  return images.sort((a, b) => direction * compare(of(a), of(b)) || compare(a.key, b.key));
}

function asTable(images: readonly ImageSummary[], full: boolean, legend: boolean): string {
  const now = Date.now();
  const time = (at: number) => (full ? new Date(at).toISOString() : ago(at, now));
  const rows = images.map(({ key, name, version, size, importedAt, lastUsedAt }) => [
    full ? key : shortId(key),
    version === null || version === "" ? name : `${name}:${version}`,
    full ? String(size) : bytes(size),
    time(importedAt),
    time(lastUsedAt),
  ]);
  return table(legend ? ["ID", "NAME", "SIZE", "IMPORTED", "LAST USED"] : undefined, rows);
}

function imageJson({ id, name, labels, size, importedAt, lastUsedAt }: StoredImage): object {
  return {
    ...{ id, name, labels, size },
    imported: new Date(importedAt).toISOString(),
    lastUsed: new Date(lastUsedAt).toISOString(),
  };
}
