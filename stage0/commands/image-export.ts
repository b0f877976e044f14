import { type Command, readLine } from "../cli/command.ts";
import { IMAGE_IN_STORE, refuseExisting, withStoredImage } from "../request/stored-image.ts";

const options = {
  overwrite: { type: "boolean", description: "replace FILE" },
  compression: {
    type: "string",
    choices: ["gzip", "none"],
    value: "gzip|none",
    description: "gzip (the default), or none: the archive as the store has it",
  },
} as const;

export const command: Command = {
  usage: "image export [options] IMAGE FILE",
  description: `Writes an image as an ACI file; if it fails, there is no file. Its contents, and so its hash, are those of the fetched image. Its compression may differ, so that a signature of the fetched file is not valid for it.\n\n${IMAGE_IN_STORE}`,
  examples: [["rkt image export example.com/etcd etcd.aci", "a file that other machines can fetch"]],
  options,
  operands: [2, 2],
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = readLine(line, options);
    const [, file = ""] = operands;
    refuseExisting(file, given.overwrite);
    await withStoredImage(globals, operands, async (image, store) => {
      const { exportImage } = await import("../store/export-image.ts");
      await exportImage(globals.dir, image, file, {
        compress: given.compression !== "none",
        overwrite: given.overwrite,
        mustCheck: store.treeSource("none").mustCheck,
      });
    });
  },
};
