import { formatPodManifest } from "../../shared/schema/pod-manifest.ts";
import { type Command, readLine } from "../cli/command.ts";
import { readManifest } from "../container/inspect.ts";
import { readWhereItIs } from "../container/lifecycle.ts";
import { selectContainer, uuidFileOption } from "../container/select.ts";
import { printJson } from "../terminal/output.ts";
import { isPretty, prettyPrintOption } from "./json-options.ts";

const options = { ...prettyPrintOption, ...uuidFileOption } as const;

export const command: Command = {
  usage: "cat-manifest [options] UUID",
  description: "Prints a container's manifest: a PodManifest of the App Container specification.",
  examples: [["rkt cat-manifest 6ba7b810", "the manifest as JSON"]],
  options,
  operands: [0, 1],
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = readLine(line, options);
    const ref = selectContainer(globals.dir, operands, given["uuid-file"]);
    const manifest = readWhereItIs(globals.dir, ref, ({ dir }) => readManifest(dir));
    printJson(JSON.parse(formatPodManifest(manifest)), isPretty(given));
  },
};
