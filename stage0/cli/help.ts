/** The pages of `rkt help`. yargs lays them out, and is used for nothing else (ADR 8). */

import yargs, { type Yargs } from "yargs";
import { print } from "../terminal/output.ts";
import type { Command, CommandTable } from "./command.ts";
import { findCommand } from "./find-command.ts";
import { globalOptions } from "./globals.ts";
import type { OptionTable } from "./words.ts";

const MAX_WIDTH = 110;

const isGroup = (name: string, { groups }: CommandTable): boolean => Object.hasOwn(groups, name);

/** Prints the page of a command or a group of them, or the first page. */
export async function showHelp(name: string | undefined, table: CommandTable): Promise<void> {
  const width = Math.min(process.stdout.columns || 80, MAX_WIDTH);
  print(`${await helpPage(name, table, width)}\n`);
}

export async function helpPage(name: string | undefined, table: CommandTable, width: number): Promise<string> {
  if (name === undefined) return await firstPage(table, width);
  if (isGroup(name, table)) return await groupPage(name, table, width);
  const { command } = await findCommand(name.split(" "), table).load();
  return await commandPage(command, width);
}

async function firstPage({ commands }: CommandTable, width: number): Promise<string> {
  const y = page(width).usage("rkt runs App Containers.\n\nUsage: rkt [global options] COMMAND [options] [arguments]");
  for (const { name, summary } of commands) y.command(name, summary);
  addOptions(y, globalOptions);
  return await y.epilogue("`rkt COMMAND --help` shows what a command does and takes.").getHelp();
}

async function groupPage(group: string, { commands, groups }: CommandTable, width: number): Promise<string> {
  const y = page(width).usage(`Usage: rkt ${group} COMMAND [options] [arguments]\n\n${groups[group]}`);
  for (const { name, summary } of commands)
    if (name.startsWith(`${group} `)) y.command(name, summary);
  return await y.epilogue(`\`rkt ${group} COMMAND --help\` shows what a command does and takes.`).getHelp();
}

async function commandPage(command: Command, width: number): Promise<string> {
  const y = page(width).usage(`Usage: rkt ${command.usage}\n\n${command.description}`);
  addOptions(y, command.options);
  // The meaning is a shell comment above the command, so that the user can copy both.
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
