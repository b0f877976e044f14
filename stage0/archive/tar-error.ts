/** How the readers of an archive say that it is not what it should be. */

import { RktError } from "../../shared/errors.ts";

export function tarError(message: string, hint?: string): RktError {
  return new RktError("bad-archive", message, { hint });
}

/** The hint for bytes that are missing or wrong. */
export const GET_AGAIN = "the file is incomplete or was changed on its way: get it again";

export const notTar = (): RktError =>
  tarError("it is not a tar archive", "an image is a tar archive, compressed or not");
