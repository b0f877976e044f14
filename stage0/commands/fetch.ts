import { blobKey, shortId } from "../../shared/layout.ts";
import { type Command, readLine } from "../command.ts";
import { print } from "../output.ts";
import type { OptionTable } from "../words.ts";

const options = {
  full: { type: "boolean", description: "print hashes as the store keeps them, 64 digits" },
} as const satisfies OptionTable;

export const command: Command = {
  usage: "fetch [options] IMAGE...",
  description: "Brings images into the local store and prints their hashes.",
  examples: [["rkt fetch etcd.aci", "import a file"]],
  options,
  operands: [1, Number.POSITIVE_INFINITY],
  needsRoot: true,
  async run(line, globals) {
    const { options: values, operands } = await readLine(line, options);
    const { findImage } = await import("../image/find.ts");
    const { parseImageReference } = await import("../image/image-name.ts");
    const { openStore } = await import("../store/store.ts");
    const wanted = operands.map((text) => ({ reference: parseImageReference(text) }));
    const store = openStore(globals.dir);
    try {
      for (const image of wanted) {
        const { id } = await findImage(image, { store, trustStore: true });
        print(`${values.full ? blobKey(id) : shortId(id)}\n`);
      }
    } finally {
      store.close();
    }
  },
};
