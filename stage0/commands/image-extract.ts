import { type Command, readLine } from "../cli/command.ts";
import { IMAGE_IN_STORE, refuseExisting, withStoredImage } from "../request/stored-image.ts";

const options = {
  overwrite: { type: "boolean", description: "replace DIRECTORY and all that is in it" },
  "rootfs-only": { type: "boolean", description: "the root file system alone, as DIRECTORY itself" },
} as const;

export const command: Command = {
  usage: "image extract [options] IMAGE DIRECTORY",
  description: `Writes an image's own contents to a directory: its manifest and its rootfs, without the images that it depends on. Only the owner may enter DIRECTORY (mode 0700), because files in it may be set-user-ID root; chmod opens it.\n\n${IMAGE_IN_STORE}`,
  examples: [["rkt image extract example.com/etcd etcd", "look at what an image has"]],
  options,
  operands: [2, 2],
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = readLine(line, options);
    const [, directory = ""] = operands;
    refuseExisting(directory, given.overwrite);
    await withStoredImage(globals, operands, async (image, store) => {
      const { writeDirectory } = await import("../store/export-image.ts");
      await writeDirectory(globals.dir, image, store, directory, {
        dependencies: false,
        least: "none",
        rootfsOnly: given["rootfs-only"],
        overwrite: given.overwrite,
      });
    });
  },
};
