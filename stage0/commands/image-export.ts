import { usageError } from "../../shared/errors.ts";
import { type Command, readLine } from "../cli/command.ts";
import { IMAGE_IN_STORE, refuseExisting, withStoredImage } from "../request/stored-image.ts";

const options = {
  format: {
    type: "string",
    choices: ["aci", "oci-archive", "docker-archive"],
    value: "FORMAT",
    description: "aci (the default); of an OCI image also oci-archive or docker-archive, for skopeo, podman and docker",
  },
  overwrite: { type: "boolean", description: "replace FILE" },
  compression: {
    type: "string",
    choices: ["gzip", "none"],
    value: "gzip|none",
    description: "of an ACI: gzip (the default), or none",
  },
} as const;

export const command: Command = {
  usage: "image export [options] IMAGE FILE",
  description: `Writes an image as a file, which appears whole or not at all. An ACI is what was fetched, and so is its hash; its compression may differ, and a signature over the file that was fetched is of no use for it. Of an OCI image, the ACI has all layers in one, and the same image gives the same file; the other formats have its layers, and so its digests, as they came.\n\n${IMAGE_IN_STORE}`,
  examples: [
    ["rkt image export example.com/etcd etcd.aci", "a file that other machines can fetch"],
    ["rkt image export --format=oci-archive docker.io/library/nginx nginx.tar", "for `podman load`"],
  ],
  options,
  operands: [2, 2],
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = readLine(line, options);
    const [, file = ""] = operands;
    const format = (given.format ?? "aci") as "aci" | "oci-archive" | "docker-archive";
    if (format !== "aci" && given.compression !== undefined)
      throw usageError(`--compression is of an ACI: the layers in ${format === "oci-archive" ? "an" : "a"} ${format} are as they came`);
    refuseExisting(file, given.overwrite);
    await withStoredImage(globals, operands, async (image, store) => {
      const { exportImage } = await import("../store/export-image.ts");
      await exportImage(globals.dir, image, store, file, {
        format,
        compress: format === "aci" && given.compression !== "none",
        overwrite: given.overwrite,
      });
    });
  },
};
