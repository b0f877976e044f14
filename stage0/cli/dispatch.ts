/**
 * Finds and runs the command that the words of the command line ask for. Every `rkt` loads this module and its imports,
 * so they must be small.
 */

import { RktError, usageError } from "../../shared/errors.ts";
import type { Command, CommandEntry, CommandTable } from "./command.ts";
import { findCommand, namedCommand } from "./find-command.ts";
import { globalOptions, readGlobals } from "./globals.ts";
import type { ErrorContext } from "./error-context.ts";
import { jsonForm } from "./options.ts";
import { allOptions, isKnown, isOption, type Line, type OptionTable, type OptionWord, readOption, scanWords } from "./words.ts";

/** Runs the command that `words` ask for. Fills in `context` on the way, so that an error can be rendered. */
export async function runCommand(words: readonly string[], table: CommandTable, context: ErrorContext): Promise<void> {
  const { given, rest } = takeGlobals(words);
  const [first] = rest;
  if (first === undefined) return await withoutCommand(given, table);
  if (Object.hasOwn(table.groups, first)) {
    const within = takeGlobals(rest.slice(1));
    given.push(...within.given);
    if (within.rest.length === 0) return await withoutCommand(given, table, first);
    rest.splice(0, rest.length, ...optionsFirst(first, within.rest, table));
  }

  const { entry, before, command } = await commandOf(rest, table);
  context.command = entry.name;
  const line = scanWords(
    rest.slice(before.words + entry.name.split(" ").length),
    { ...globalOptions, ...command.options },
    command.grammar,
  );
  line.options.unshift(...before.options);
  context.json = jsonForm({ format: allOptions(line).findLast(({ name }) => name === "format")?.value });
  const globals = await readGlobals([...given, ...withdrawGlobals(line)]);
  context.debug = globals.debug;
  if (globals.help) {
    const { showHelp } = await import("./help.ts");
    return await showHelp(entry.name, table);
  }
  checkOperands(entry.name, command, line);
  if (command.needsRoot === true) requireRoot(entry.name);
  await command.run(line, globals, table);
}

/** The options before the command's name. */
function takeGlobals(words: readonly string[]): { given: OptionWord[]; rest: string[] } {
  const given: OptionWord[] = [];
  let i = 0;
  while (isOption(words[i] ?? "")) {
    if (words[i] === "--version" || words[i] === "-version") return { given, rest: ["version"] };
    // It may be an option of the command, whose name comes later.
    if (!isKnown(words[i] ?? "", globalOptions)) break;
    const { option, next } = readOption(words, i, globalOptions);
    given.push(option);
    i = next;
  }
  return { given, rest: words.slice(i) };
}

/** Moves options that stand between the two words of a command's name before both. */
function optionsFirst(group: string, words: readonly string[], table: CommandTable): string[] {
  if (!isOption(words[0] ?? "")) return [group, ...words];
  const name = words.findIndex((word) => namedCommand([group, word], table) !== undefined);
  return name < 0 ? [...words] : [...words.slice(0, name), group, ...words.slice(name)];
}

interface FoundCommand {
  entry: CommandEntry;
  command: Command;
  /** The command's own options that stand before its name, and the number of their words. */
  before: { options: OptionWord[]; words: number };
}

/** Finds the command. Its own options may stand before its name (`rkt --net=host run`). */
async function commandOf(words: readonly string[], table: CommandTable): Promise<FoundCommand> {
  const [first = ""] = words;
  if (!isOption(first)) {
    const entry = findCommand(words, table);
    return { entry, command: (await entry.load()).command, before: { options: [], words: 0 } };
  }
  for (let i = 1; i < words.length; i++) {
    const entry = namedCommand(words.slice(i), table);
    if (entry === undefined) continue;
    const { command } = await entry.load();
    const options = optionsUpTo(words.slice(0, i), { ...globalOptions, ...command.options });
    if (options !== undefined) return { entry, command, before: { options, words: i } };
  }
  // No command has such options: this throws an error that suggests the right spelling.
  readOption(words, 0, globalOptions);
  throw usageError("there is no command", "`rkt help` lists the commands");
}

/** Reads words that are all options of the table; undefined if one is something else. */
function optionsUpTo(words: readonly string[], table: OptionTable): OptionWord[] | undefined {
  const options: OptionWord[] = [];
  let i = 0;
  while (i < words.length) {
    if (!isOption(words[i] ?? "") || !isKnown(words[i] ?? "", table)) return undefined;
    const { option, next } = readOption([...words, ""], i, table);
    options.push(option);
    i = next;
  }
  return i === words.length ? options : undefined;
}

/** A command line without a command is an error, except for `--help` and the name of a group: these show help. */
async function withoutCommand(given: readonly OptionWord[], table: CommandTable, group?: string): Promise<void> {
  const { showHelp } = await import("./help.ts");
  const globals = await readGlobals(given);
  if (globals.help || group !== undefined) return await showHelp(group, table);
  throw usageError("there is no command", "`rkt help` lists the commands");
}

/** Removes the global options from a command's line, and returns them. */
function withdrawGlobals(line: Line): OptionWord[] {
  const globals: OptionWord[] = [];
  const withdraw = (words: OptionWord[]): OptionWord[] =>
    words.filter((word) => !(Object.hasOwn(globalOptions, word.name) && globals.push(word) > 0));
  line.options = withdraw(line.options);
  for (const operand of line.operands) operand.options = withdraw(operand.options);
  return globals;
}

function checkOperands(name: string, { operands: [least, most], usage }: Command, line: Line): void {
  const extra = line.operands[most];
  if (extra !== undefined) throw usageError(`unexpected argument ${JSON.stringify(extra.text)}`, `usage: rkt ${usage}`);
  if (line.operands.length < least)
    throw usageError("an argument is missing", `usage: rkt ${usage}; see \`rkt ${name} --help\``);
}

function requireRoot(name: string): void {
  if (process.geteuid?.() === 0) return;
  throw new RktError("not-root", "only root can do this", { hint: `sudo rkt ${name} ...` });
}
