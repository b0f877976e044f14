import { type Command, readLine } from "../cli/command.ts";
import { readManifest, requireLayout } from "../container/inspect.ts";
import { readWhereItIs } from "../container/lifecycle.ts";
import { chooseApp, selectContainer, uuidFileOption } from "../container/select.ts";
import { print, say } from "../terminal/output.ts";
import { bytes } from "../terminal/table.ts";
import { refuseExisting } from "../request/stored-image.ts";

const options = {
  app: { type: "string", value: "NAME", description: "the app to export; needed when there are several" },
  overwrite: { type: "boolean", description: "replace OUTPUT" },
  ...uuidFileOption,
} as const;

export const command: Command = {
  usage: "export [options] UUID OUTPUT",
  description:
    "Makes an image of an app: its image's manifest, and its root file system with all that the app has changed. Images that its image depends on are part of it; volumes are not. Prints the new image's hash.\n\nThe container may be prepared, running or exited. Of a running app files are taken one after the other, as they are at that moment.\n\nFiles that have more than 64 GiB in all are refused, holes included: no image of that size could be fetched.",
  examples: [["rkt export 6ba7b810 db.aci", "an image of the one app, as it is now"]],
  options,
  operands: [1, 2],
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = readLine(line, options);
    const output = operands.at(-1) ?? "";
    const container = selectContainer(globals.dir, operands.slice(0, -1), given["uuid-file"]);
    const manifest = readWhereItIs(globals.dir, container, ({ dir }) => readManifest(dir));
    requireLayout(container.uuid, manifest);
    const app = chooseApp(manifest, given.app, undefined);
    refuseExisting(output, given.overwrite);
    const { exportApp } = await import("../container/export.ts");
    const image = await exportApp({ container, app, output, overwrite: given.overwrite });
    if (!globals.quiet) say(`${output}: ${bytes(image.size)}, ${bytes(image.archiveSize)} unpacked`);
    print(`${image.id}\n`);
  },
};
