/** The pages of `rkt help`, laid out by yargs. */

import yargs, { type Yargs } from "yargs";
import { type CommandEntry, commands, findCommand, groups } from "../cli/dispatch.ts";
import type { Command } from "../cli/command.ts";
import { globalOptions } from "../cli/globals.ts";
import { print } from "../terminal/output.ts";
import type { OptionTable } from "../cli/words.ts";

export const command: Command = {
  usage: "help [COMMAND]",
  description: "Shows what a command does and takes; without one, the commands there are.",
  examples: [["rkt help run", "the same as rkt run --help"]],
  options: {},
  operands: [0, 2],
  async run(line) {
    const words = line.operands.map(({ text }) => text);
    const [first = ""] = words;
    if (words.length === 0) await showHelp(undefined);
    else await showHelp(words.length === 1 && isGroup(first) ? first : findCommand(words).name);
  },
};

const MAX_WIDTH = 110;

const isGroup = (name: string): boolean => Object.hasOwn(groups, name);

/** Prints the page of a command or a group of them, or the first page. */
export async function showHelp(name: string | undefined): Promise<void> {
  const width = Math.min(process.stdout.columns || 80, MAX_WIDTH);
  print(`${await helpPage(name, width)}\n`);
}

export async function helpPage(name: string | undefined, width: number): Promise<string> {
  if (name === undefined) return await firstPage(width);
  if (isGroup(name)) return await groupPage(name, width);
  const { command } = await findCommand(name.split(" ")).load();
  return await commandPage(command, width);
}

async function firstPage(width: number): Promise<string> {
  const y = page(width).usage("rkt runs App Containers.\n\nUsage: rkt [global options] COMMAND [options] [arguments]");
  for (const { name, summary } of commands as readonly CommandEntry[]) y.command(name, summary);
  addOptions(y, globalOptions);
  return await y.epilogue("`rkt COMMAND --help` shows what a command does and takes.").getHelp();
}

async function groupPage(group: string, width: number): Promise<string> {
  const y = page(width).usage(`Usage: rkt ${group} COMMAND [options] [arguments]\n\n${groups[group]}`);
  for (const { name, summary } of commands as readonly CommandEntry[])
    if (name.startsWith(`${group} `)) y.command(name, summary);
  return await y.epilogue(`\`rkt ${group} COMMAND --help\` shows what a command does and takes.`).getHelp();
}

async function commandPage(command: Command, width: number): Promise<string> {
  const y = page(width).usage(`Usage: rkt ${command.usage}\n\n${command.description}`);
  addOptions(y, command.options);
  // As a shell's comment over each: one line, to be copied whole.
  y.example(command.examples.flatMap(([words, meaning]) => [`# ${meaning}`, words].map((text) => [text, ""] as const)));
  return await y.epilogue("`rkt help` shows the options that every command takes.").getHelp();
}

function page(width: number): Yargs {
  return yargs([])
    .parserConfiguration({ "camel-case-expansion": false, "dot-notation": false })
    .usageConfiguration({ "hide-types": true })
    .detectLocale(false)
    .help(false)
    .version(false)
    .scriptName("rkt")
    .wrap(width);
}

/** An option's key is what the page shows after the dashes. */
function addOptions(y: Yargs, table: OptionTable): void {
  for (const [name, option] of Object.entries(table)) {
    if (option.hidden === true) continue;
    const value = option.value ?? "VALUE";
    let shown = name;
    if (option.type === "string") shown += option.bare === undefined ? `=${value}` : `[=${value}]`;
    y.option(shown, { describe: option.description, group: `${option.group ?? "Options"}:` });
  }
}
