/** Registers a container with the metadata service, as the request asks for it. */

import type { Settings } from "../config/settings.ts";
import { thisProgram } from "../host/this-program.ts";
import type { NoteReporter } from "../terminal/output.ts";
import type { MetadataServiceRequest } from "./request.ts";

/** AC_METADATA_URL for the apps of a container on that network. Undefined: the container is not registered. */
export async function metadataUrl(
  { register: wish, spawn }: MetadataServiceRequest,
  network: string,
  settings: Settings,
  reporter: NoteReporter,
): Promise<string | undefined> {
  if (wish === "never") return undefined;
  const { ASLEEP, register } = await import("../metadata/registration.ts");
  const url = await register({
    data: settings.dir,
    network,
    program: spawn ? thisProgram() : undefined,
    wait: wish === "must",
  });
  if (typeof url === "string") return url;
  if (spawn || wish === "must") throw url;
  if (url.code === ASLEEP) reporter.note(`warning: ${url.message}: the container is not registered`);
  return undefined;
}
