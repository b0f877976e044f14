import type { VerifiedLayers } from "../store/verify-images.ts";
import { RktError } from "../../shared/errors.ts";
import { shortId } from "../../shared/contract/image-ids.ts";
import { type Command, readLine } from "../cli/command.ts";
import { print } from "../terminal/output.ts";

export const command: Command = {
  usage: "image verify [IMAGE...]",
  description:
    "Checks images, or all there are: hashes their blobs again, and compares what was rendered of them with what they give now. Reads everything and changes nothing; prints a line for each image and each damage.",
  examples: [["rkt image verify", "the whole store"]],
  options: {},
  operands: [0, Number.POSITIVE_INFINITY],
  needsRoot: true,
  async run(line, globals) {
    const { operands } = readLine(line, {});
    const { openStore } = await import("../store/store.ts");
    const { findStored } = await import("../fetch/find-stored.ts");
    const { verifyBlob, verifyTrees } = await import("../store/verify-images.ts");
    const store = openStore(globals.dir);
    const layers: VerifiedLayers = { blobs: new Map(), trees: new Map() };
    let damages = 0;
    const damaged = (what: string) => {
      print(`damaged ${what}\n`);
      damages++;
    };
    try {
      if (operands.length === 0)
        for (const key of store.adopt()) damaged(`${shortId(key)}: its blob is no image of that hash`);
      const images =
        operands.length === 0 ? store.list() : operands.map((text) => findStored(text, store, { several: "best" }));
      for (const image of images) {
        const blob = await verifyBlob(globals.dir, image, layers);
        const found = blob === undefined ? await verifyTrees(globals.dir, image, store, layers) : [blob];
        for (const damage of found) damaged(`${shortId(image.id)} ${image.name}: ${damage}`);
        if (found.length === 0) print(`good    ${shortId(image.id)} ${image.name}\n`);
      }
    } finally {
      store.close();
    }
    if (damages > 0)
      throw new RktError("damaged-store", `${damages} ${damages === 1 ? "damage" : "damages"} in the store`, {
        hint: "`rkt fetch` the image again, from where it came; `rkt image gc --grace-period=0` removes trees, which are made again",
      });
  },
};
