/**
 * `init`: from a container directory to a running container. It makes what the
 * host has to give, which is the same for every flavor, and then becomes the
 * program of its flavor.
 */

import { readContainer } from "./container/container.ts";
import type { Flavor } from "./flavor.ts";
import { setUp } from "./set-up.ts";

/** Runs the container in the flavor. */
export function init(flavor: Flavor): never {
  const container = readContainer();
  const prepared = setUp(container, flavor);
  try {
    flavor.leave(container, prepared);
  } catch (error) {
    prepared.network.undo();
    throw error;
  }
}
