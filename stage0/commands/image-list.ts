import { type Command, readLine } from "../cli/command.ts";
import { jsonText, print } from "../terminal/output.ts";
import { IMAGE_ORDERS, type ImageOrder } from "../store/image-table.ts";
import type { StoredImage } from "../store/store.ts";

const options = {
  full: { type: "boolean", description: "whole hashes, bytes, times in RFC 3339" },
  "no-legend": { type: "boolean", description: "no line with the names of the columns" },
  format: { type: "string", choices: ["table", "json"], value: "FORMAT", description: "table (the default) or json" },
  sort: {
    type: "string",
    choices: IMAGE_ORDERS,
    value: "COLUMN",
    description: `${IMAGE_ORDERS.join(", ")} (importtime)`,
  },
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
    const { options: given } = readLine(line, options);
    const { openStore } = await import("../store/store.ts");
    const store = openStore(globals.dir);
    try {
      const by = (given.sort ?? "importtime") as ImageOrder;
      const descending = given.order === "desc";
      const { full } = given;
      const legend = !given["no-legend"];
      print(
        given.format === "json"
          ? asJson(store.list(), by, descending)
          : store.table({ full, legend, by, descending, now: Date.now() }),
      );
    } finally {
      store.close();
    }
  },
};

function asJson(images: StoredImage[], by: ImageOrder, descending: boolean): string {
  const value: Record<ImageOrder, (image: StoredImage) => string | number> = {
    name: (image) => image.name,
    id: (image) => image.key,
    size: (image) => image.size,
    importtime: (image) => image.importedAt,
    lastused: (image) => image.lastUsedAt,
  };
  const direction = descending ? -1 : 1;
  images.sort((a, b) => direction * compare(value[by](a), value[by](b)) || compare(a.key, b.key));
  return jsonText(images.map(imageJson));
}

const compare = (a: string | number, b: string | number): number => (a < b ? -1 : a > b ? 1 : 0);

function imageJson({ id, name, labels, size, importedAt, lastUsedAt, provenance }: StoredImage): object {
  return {
    ...{ id, name, labels, size },
    imported: new Date(importedAt).toISOString(),
    lastUsed: new Date(lastUsedAt).toISOString(),
    provenance,
  };
}
