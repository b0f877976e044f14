import { usageError } from "../../shared/errors.ts";
import { blobKey, shortId } from "../../shared/contract/image-ids.ts";
import { type Command, readLine } from "../cli/command.ts";
import { print, say } from "../terminal/output.ts";
import type { OptionTable } from "../cli/words.ts";
import { openFinder } from "../fetch/open-finder.ts";
import { pullOptions, readMaxImageSize, readPlatform, readPullPolicy } from "../request/pull-options.ts";

const options = {
  full: { type: "boolean", description: "print hashes as the store keeps them, 64 digits" },
  signature: { type: "string", value: "FILE", description: "signature of the one image, instead of the one beside it" },
  ...pullOptions,
} as const satisfies OptionTable;

export const command: Command = {
  usage: "fetch [options] IMAGE...",
  description: `Brings images and their dependencies into the local store, and prints their hashes.

IMAGE is a URL, a name with labels (coreos.com/etcd:v2.0.0,os=linux,arch=amd64), a file, or the hash of an image in the store; or an OCI image: docker://[REGISTRY/]REPOSITORY[:TAG][@DIGEST], oci:DIRECTORY[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:REF]. An image from the network must be signed by a key that \`rkt trust\` has added, or have the digest that you type. A file must be signed only if a signature lies beside it.

A name finds an image that a trusted key has signed, or else one that \`rkt fetch\` has read from a file. It does not find an image that \`rkt run\` has read from a file, nor one from the network without a signature.

If an image was fetched before, rkt asks the server for changes; if there are none, it downloads nothing.`,
  examples: [
    ["rkt fetch https://example.com/images/etcd.aci", "by its address"],
    ["rkt fetch example.com/etcd:v3.4.23", "by its name; the page at https://example.com/etcd says where it is"],
    ["rkt --insecure-options=image fetch https://example.com/etcd.aci", "without a signature"],
    ["rkt fetch etcd.aci", "import a file"],
    ["rkt --insecure-options=image fetch docker://nginx", "of Docker Hub, without a signature"],
  ],
  options,
  operands: [1, Number.POSITIVE_INFINITY],
  needsRoot: true,
  async run(line, globals) {
    const { options: values, operands } = readLine(line, options);
    if (values.signature !== undefined && operands.length > 1)
      throw usageError("--signature is the signature of one image", "fetch the others by another command");
    const { findImages, imageReference } = await import("../fetch/find.ts");
    const { sourceOf } = await import("../fetch/sources.ts");
    const { openStore } = await import("../store/store.ts");
    const wanted = operands.map((text) => ({ reference: imageReference(text), signature: values.signature }));
    // `hold`: an image whose dependency is missing leaves nothing in the store.
    const maxImageSize = readMaxImageSize(values["max-image-size"]);
    const checkBlobs = !globals.insecure.has("ondisk");
    const store = openStore(globals.dir, { hold: true, maxImageSize, provenance: "given", checkBlobs });
    const finder = openFinder(globals, store, readPullPolicy(values, "update"), readPlatform(values.platform));
    try {
      let images = await findImages(wanted, finder);
      await store.release();
      const damages = await store.ignoreDamaged(new Set(images.flatMap(({ key }) => store.closure(key))));
      if (damages.length > 0) {
        // A hash does not say where to fetch the image from.
        if (wanted.every(({ reference }) => sourceOf(reference).origin === "store")) throw damages[0];
        for (const { message } of damages) if (!globals.quiet) say(`${message}: fetching it again`);
        images = await findImages(wanted, finder);
        await store.release();
      }
      for (const { id } of images) print(`${values.full ? blobKey(id) : shortId(id)}\n`);
    } finally {
      await finder.close();
      store.close();
    }
  },
};
