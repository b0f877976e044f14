/** Parts that the commands about one image in the store share. */

import { existsSync } from "node:fs";
import { RktError } from "../../shared/errors.ts";
import type { GlobalOptions } from "../cli/globals.ts";
import { say } from "../terminal/output.ts";
import type { Store, StoredImage } from "../store/store.ts";

export const IMAGE_IN_STORE =
  "IMAGE is the hash of an image in the store or the beginning of one, a name with labels, or the URL or docker:// reference that it came from. Of several images of a name one that a trusted key has signed is meant, else one that was fetched from a file, and of these the one that came last.";

/** Opens the store and finds the image that the first operand names. */
export async function withStoredImage(
  globals: GlobalOptions,
  [text = ""]: readonly string[],
  work: (image: StoredImage, store: Store) => Promise<void>,
): Promise<void> {
  const { openStore } = await import("../store/store.ts");
  const { findStored } = await import("../fetch/find-stored.ts");
  const store = openStore(globals.dir, { checkBlobs: !globals.insecure.has("ondisk") });
  try {
    await work(findStored(text, store, { several: "best" }), store);
  } finally {
    store.close();
  }
}

/** Tells the user that this command waits for another rkt. */
export const sayWaiting = ({ quiet }: GlobalOptions): void => {
  if (!quiet) say("waiting for another rkt that uses the store");
};

export function refuseExisting(path: string, overwrite: boolean): void {
  if (overwrite || !existsSync(path)) return;
  throw new RktError("exists", `${path} is there already`, { hint: "--overwrite replaces it" });
}
