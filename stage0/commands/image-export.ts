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
  description: `Writes an image as a file; if it fails, there is no file. An ACI has the contents, and so the hash, of the fetched image. Its compression may differ, so that a signature of the fetched file is not valid for it. The ACI of an OCI image has all layers in one archive; the other formats have the layers, and so the digests, of the fetched image.\n\n${IMAGE_IN_STORE}`,
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
