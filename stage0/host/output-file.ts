/** A small file that the caller has named, for a number or a name to be read by others. */

import { writeFileSync } from "node:fs";
import { RktError } from "../../shared/errors.ts";
import { OutputFile } from "../../shared/output-file.ts";
import { callersMode } from "./caller-mask.ts";

/**
 * Writes a small file that the caller has named, such as a pid file; it appears complete, and replaces an older one. A
 * link is not followed, because in a directory of others it may lead to any file. A link or a device is not replaced
 * either: /dev/stdout, for one, is a link that others need.
 */
export function writeOutputFile(path: string, text: string): void {
  const output = new OutputFile(path, { mode: callersMode(0o666) });
  try {
    const there = output.there();
    if (there === "link" || there === "other")
      throw new RktError("not-a-file", `${path} is ${there === "link" ? "a link" : "no regular file"}`, {
        hint: "name a file of your own; it need not be there",
      });
    writeFileSync(output.fd, text);
    output.place({ overwrite: true, flush: false });
  } finally {
    output.close();
  }
}
