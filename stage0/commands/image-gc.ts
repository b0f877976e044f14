import { shortId } from "../../shared/contract/image-ids.ts";
import { type Command, readLine } from "../cli/command.ts";
import { duration } from "../cli/duration.ts";
import { print } from "../terminal/output.ts";
import { bytes } from "../terminal/table.ts";
import { sayWaiting } from "../request/stored-image.ts";

const options = {
  "grace-period": { type: "string", value: "DURATION", description: "how long an unused image stays (24h)" },
} as const;

export const command: Command = {
  usage: "image gc [options]",
  description: `Removes images that were not fetched or run for a while, and rendered trees that no container uses. Images of containers in any state stay, and so do dependencies of remaining images.

Other commands may use the store at the same time: what they have begun to use is not removed.`,
  examples: [
    ["rkt image gc", "as a timer would run it"],
    ["rkt image gc --grace-period=0", "everything that no container uses"],
  ],
  options,
  operands: [0, 0],
  needsRoot: true,
  async run(line, globals) {
    const { options: given } = readLine(line, options);
    const grace = duration("grace-period", given["grace-period"] ?? "24h");
    const { openStore } = await import("../store/store.ts");
    const { collectImages } = await import("../container/remove-images.ts");
    const store = openStore(globals.dir);
    try {
      const wait = () => sayWaiting(globals);
      // A grace period of 0 includes images that were used in this millisecond.
      const before = grace === 0 ? Number.POSITIVE_INFINITY : Date.now() - grace;
      const { images, trees } = collectImages(before, { data: globals.dir, store, wait });
      if (globals.quiet) return;
      for (const { id, name, size } of images) print(`removed image ${shortId(id)} ${name} (${bytes(size)})\n`);
      for (const id of trees) print(`removed ${id}\n`);
    } finally {
      store.close();
    }
  },
};
