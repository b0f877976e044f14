import { formatImageManifest } from "../../shared/schema/image-manifest.ts";
import { type Command, readLine } from "../cli/command.ts";
import { printJson } from "../terminal/output.ts";
import { IMAGE_IN_STORE, withStoredImage } from "../request/stored-image.ts";

export const command: Command = {
  usage: "image cat-manifest IMAGE",
  description: `Prints an image's manifest, in the form of today's App Container specification whatever form it came in.\n\n${IMAGE_IN_STORE}`,
  examples: [["rkt image cat-manifest sha512-e4eb60f9", "the manifest as JSON"]],
  options: {},
  operands: [1, 1],
  needsRoot: true,
  async run(line, globals) {
    const { operands } = readLine(line, {});
    await withStoredImage(globals, operands, async (image, store) => {
      printJson(JSON.parse(formatImageManifest(store.manifest(image.key))));
    });
  },
};
