import { usageError } from "../../shared/errors.ts";
import { shortId } from "../../shared/contract/image-ids.ts";
import { label } from "../../shared/schema/image-manifest.ts";
import { type Command, readLine } from "../cli/command.ts";
import { jsonText, print } from "../terminal/output.ts";
import { IMAGE_FIELDS, IMAGE_ORDERS, type ImageField, type ImageOrder, shortDigest } from "../store/image-table.ts";
import type { StoredImage } from "../store/store.ts";
import { ago, bytes, table } from "../terminal/table.ts";
import { jsonForm } from "../cli/options.ts";
import { formatOption } from "./json-options.ts";

const options = {
  full: { type: "boolean", description: "whole hashes, bytes, times in RFC 3339" },
  "no-legend": { type: "boolean", description: "no line with the names of the columns" },
  ...formatOption("table"),
  fields: {
    type: "string",
    value: "COLUMN,...",
    description: `columns of the table, in this order: ${IMAGE_FIELDS.join(", ")}`,
  },
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
  description:
    "Lists the images in the store. Where there are OCI images, DIGEST is the digest by which registries know them.",
  examples: [
    ["rkt image list", "the images, in the order they came"],
    ["rkt image list --sort=size --order=desc", "the biggest first"],
    ["rkt image list --format=json", "the same for a program"],
    ["rkt image list --fields=id --full --no-legend", "the hashes alone"],
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
      const json = jsonForm(given);
      const fields = given.fields === undefined ? undefined : parseFields(given.fields);
      if (json !== undefined && fields !== undefined) throw usageError("--fields chooses columns of the table, not of JSON");
      const sorted = () => store.list().sort(order(by, descending));
      print(
        json !== undefined
          ? jsonText(sorted().map(imageJson), json.pretty)
          : fields !== undefined
            ? chosenColumns(sorted(), fields, { full, legend })
            : store.table({ full, legend, by, descending, now: Date.now() }),
      );
    } finally {
      store.close();
    }
  },
};

const VALUES: Record<ImageOrder, (image: StoredImage) => string | number> = {
  name: (image) => image.name,
  id: (image) => image.key,
  size: (image) => image.size,
  importtime: (image) => image.importedAt,
  lastused: (image) => image.lastUsedAt,
};

function order(by: ImageOrder, descending: boolean): (a: StoredImage, b: StoredImage) => number {
  const direction = descending ? -1 : 1;
  return (a, b) => direction * compare(VALUES[by](a), VALUES[by](b)) || compare(a.key, b.key);
}

const compare = (a: string | number, b: string | number): number => (a < b ? -1 : a > b ? 1 : 0);

function imageJson({ id, name, labels, size, digest, importedAt, lastUsedAt, provenance }: StoredImage): object {
  return {
    ...{ id, name, labels, size, digest },
    imported: new Date(importedAt).toISOString(),
    lastUsed: new Date(lastUsedAt).toISOString(),
    provenance,
  };
}

function parseFields(text: string): ImageField[] {
  return text.split(",").map((word) => {
    const field = IMAGE_FIELDS.find((name) => name === word);
    if (field === undefined)
      throw usageError(`--fields: there is no column ${JSON.stringify(word)}`, `there are ${IMAGE_FIELDS.join(", ")}`);
    return field;
  });
}

const TITLES: Record<ImageField, string> = {
  id: "ID",
  name: "NAME",
  digest: "DIGEST",
  size: "SIZE",
  importtime: "IMPORTED",
  lastused: "LAST USED",
};

/** A table of chosen columns, with cells as in `imageTable`. */
function chosenColumns(
  images: readonly StoredImage[],
  fields: readonly ImageField[],
  { full, legend }: { full: boolean; legend: boolean },
): string {
  const now = Date.now();
  const time = (at: number) => (full ? new Date(at).toISOString() : ago(at, now));
  const cells: Record<ImageField, (image: StoredImage) => string> = {
    id: ({ key }) => (full ? key : shortId(key)),
    name: (image) => [image.name, label(image, "version") ?? ""].filter((part) => part !== "").join(":"),
    digest: ({ digest = "" }) => (full ? digest : shortDigest(digest)),
    size: ({ size }) => (full ? String(size) : bytes(size)),
    importtime: ({ importedAt }) => time(importedAt),
    lastused: ({ lastUsedAt }) => time(lastUsedAt),
  };
  return table(
    legend ? fields.map((field) => TITLES[field]) : undefined,
    images.map((image) => fields.map((field) => cells[field](image))),
  );
}
