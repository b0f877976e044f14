import packageJson from "../../package.json" with { type: "json" };
import { APPC_VERSION } from "../../shared/schema/image-manifest.ts";
import type { Command } from "../cli/command.ts";
import { print } from "../terminal/output.ts";

export const command: Command = {
  usage: "version",
  description: "Prints the versions of rkt, of the App Container specification, and of the Bun inside.",
  examples: [],
  options: {},
  operands: [0, 0],
  async run() {
    print(`rkt version ${packageJson.version}\nappc version ${APPC_VERSION}\nbun version ${process.versions.bun ?? "(none)"}\n`);
  },
};
