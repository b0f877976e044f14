import { shortId } from "../../shared/contract/image-ids.ts";
import { type Command, readLine } from "../cli/command.ts";
import { print } from "../terminal/output.ts";
import { sayWaiting } from "../request/stored-image.ts";

export const command: Command = {
  usage: "image rm IMAGE...",
  description: `Removes images and their rendered trees from the store: all of them or none. An image of a container that runs, or is going to run, is refused.

IMAGE is a hash or the beginning of one, a name with labels, or the URL or docker:// reference that the image was fetched from. It must match exactly one image.`,
  examples: [["rkt image rm sha512-e4eb60f9", "the one whose hash begins so"]],
  options: {},
  operands: [1, Number.POSITIVE_INFINITY],
  needsRoot: true,
  async run(line, globals) {
    const { operands } = readLine(line, {});
    const { openStore } = await import("../store/store.ts");
    const { findStored } = await import("../fetch/find-stored.ts");
    const { removeImages } = await import("../container/remove-images.ts");
    const store = openStore(globals.dir);
    try {
      const images = new Map(
        operands.map((text) => findStored(text, store, { several: "refuse" })).map((image) => [image.key, image]),
      );
      removeImages([...images.values()], { data: globals.dir, store, wait: () => sayWaiting(globals) });
      if (!globals.quiet) for (const { id } of images.values()) print(`removed ${shortId(id)}\n`);
    } finally {
      store.close();
    }
  },
};
