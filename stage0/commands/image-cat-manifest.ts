import { formatImageManifest } from "../../shared/schema/image-manifest.ts";
import { type Command, readLine } from "../cli/command.ts";
import { printJson } from "../terminal/output.ts";
import { isPretty, prettyPrintOption } from "./json-options.ts";
import { IMAGE_IN_STORE, withStoredImage } from "../request/stored-image.ts";

export const command: Command = {
  usage: "image cat-manifest [options] IMAGE",
  description: `Prints an image's manifest. One of an earlier version of the App Container specification is printed in today's form.\n\n${IMAGE_IN_STORE}`,
  examples: [["rkt image cat-manifest sha512-e4eb60f9", "the manifest as JSON"]],
  options: prettyPrintOption,
  operands: [1, 1],
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = readLine(line, prettyPrintOption);
    await withStoredImage(globals, operands, async (image, store) => {
      printJson(JSON.parse(formatImageManifest(store.manifest(image.key))), isPretty(given));
    });
  },
};
