import { type Credentials, readAuth } from "../config/auth.ts";
import { readDefaultStage1, readPaths } from "../config/settings.ts";
import { type Command, readLine } from "../cli/command.ts";
import type { GlobalOptions } from "../cli/globals.ts";
import { printJson, say } from "../terminal/output.ts";
import { isPretty, prettyPrintOption } from "./json-options.ts";

export const command: Command = {
  usage: "config [options]",
  description:
    "Prints the configuration in effect as JSON: the system's, overridden by this machine's and the user's. Each entry has the form of a configuration file; secrets are masked.",
  examples: [["rkt --user-config=$HOME/.config/rkt config", "with a user's own credentials"]],
  options: prettyPrintOption,
  operands: [0, 0],
  async run(line, globals) {
    const { options: given } = readLine(line, prettyPrintOption);
    const { entries, warnings } = effectiveConfig(globals);
    printJson({ stage0: entries }, isPretty(given));
    for (const warning of warnings) say(`warning: ${warning}`);
  },
};

function effectiveConfig(globals: GlobalOptions): { entries: object[]; warnings: string[] } {
  const { hosts, registries, warnings } = readAuth(globals);
  const entry = (rktKind: string, content: object) => ({ rktVersion: "v1", rktKind, ...content });
  const entries = [
    ...[...hosts].map(([host, credentials]) =>
      entry("auth", { domains: [host], type: credentials.type, credentials: masked(credentials) }),
    ),
    ...[...registries].map(([registry, { credentials }]) =>
      entry("dockerAuth", { registries: [registry], credentials: masked(credentials) }),
    ),
    entry("paths", { data: globals.dir, "stage1-images": readPaths(globals).stage1Images }),
  ];
  const stage1 = readDefaultStage1(globals);
  if (stage1.name !== undefined || stage1.location !== undefined) entries.push(entry("stage1", stage1));
  return { entries, warnings };
}

const PUBLIC = new Set(["user", "accessKeyID", "awsRegion"]);

function masked({ type: _, ...members }: Credentials): object {
  return Object.fromEntries(Object.entries(members).map(([name, value]) => [name, PUBLIC.has(name) ? value : "***"]));
}
