import packageJson from "../../package.json" with { type: "json" };
import { APPC_VERSION } from "../../shared/schema/image-manifest.ts";
import type { Command } from "../cli/command.ts";
import { print } from "../terminal/output.ts";

export const command: Command = {
  usage: "version",
  description: "Prints the versions of rkt, of the App Container specification, and of the runtime inside.",
  examples: [],
  options: {},
  operands: [0, 0],
  async run() {
    const runtime = process.versions.bun === undefined ? `node version ${process.versions.node}` : `bun version ${process.versions.bun}`;
    print(`rkt version ${packageJson.version}\nappc version ${APPC_VERSION}\n${runtime}\n`);
  },
};
