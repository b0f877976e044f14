/**
 * From the words of the command line to a command. A command's module is
 * loaded when it is chosen; this one and what it imports are loaded by every
 * `rkt`, and stay small.
 */

import { RktError, usageError } from "../../shared/errors.ts";
import type { Command } from "./command.ts";
import { globalOptions, readGlobals } from "./globals.ts";
import type { ErrorContext } from "./render-error.ts";
import { isKnown, isOption, type Line, nearest, type OptionTable, type OptionWord, readOption, scanWords } from "./words.ts";

export interface CommandEntry {
  name: string;
  /** Another name of one word. */
  alias?: string;
  summary: string;
  load(): Promise<{ command: Command }>;
}

/** In the order of the help. A name may be two words. */
export const commands: readonly CommandEntry[] = [
  {
    name: "run",
    summary: "run images in a new container",
    load: () => import("../commands/run.ts"),
  },
  {
    name: "fetch",
    summary: "bring images into the local store",
    load: () => import("../commands/fetch.ts"),
  },
  {
    name: "trust",
    summary: "let public keys sign images",
    load: () => import("../commands/trust.ts"),
  },
  {
    name: "list",
    summary: "list the containers",
    load: () => import("../commands/list.ts"),
  },
  {
    name: "status",
    summary: "say what state a container is in",
    load: () => import("../commands/status.ts"),
  },
  {
    name: "enter",
    summary: "run a command in an app of a running container",
    load: () => import("../commands/enter.ts"),
  },
  {
    name: "logs",
    summary: "print what a container's apps have written",
    load: () => import("../commands/logs.ts"),
  },
  {
    name: "top",
    alias: "stats",
    summary: "show what running containers use",
    load: () => import("../commands/top.ts"),
  },
  {
    name: "stop",
    summary: "stop running containers",
    load: () => import("../commands/stop.ts"),
  },
  {
    name: "prepare",
    summary: "set a container up without running it",
    load: () => import("../commands/prepare.ts"),
  },
  {
    name: "run-prepared",
    summary: "run a prepared container",
    load: () => import("../commands/run-prepared.ts"),
  },
  {
    name: "cat-manifest",
    summary: "print a container's manifest",
    load: () => import("../commands/cat-manifest.ts"),
  },
  {
    name: "export",
    summary: "make an image of an app's file system",
    load: () => import("../commands/export.ts"),
  },
  {
    name: "gc",
    summary: "remove containers that have ended",
    load: () => import("../commands/gc.ts"),
  },
  {
    name: "rm",
    summary: "remove containers that no longer run",
    load: () => import("../commands/rm.ts"),
  },
  {
    name: "image list",
    summary: "list the images in the store",
    load: () => import("../commands/image-list.ts"),
  },
  {
    name: "image cat-manifest",
    summary: "print an image's manifest",
    load: () => import("../commands/image-cat-manifest.ts"),
  },
  {
    name: "image rm",
    summary: "remove images from the store",
    load: () => import("../commands/image-rm.ts"),
  },
  {
    name: "image export",
    summary: "write an image to a file",
    load: () => import("../commands/image-export.ts"),
  },
  {
    name: "image extract",
    summary: "make a directory of what an image has",
    load: () => import("../commands/image-extract.ts"),
  },
  {
    name: "image render",
    summary: "make a directory of an image and all it depends on",
    load: () => import("../commands/image-render.ts"),
  },
  {
    name: "image verify",
    summary: "check that stored images are what they were",
    load: () => import("../commands/image-verify.ts"),
  },
  {
    name: "image gc",
    summary: "remove images that nobody uses",
    load: () => import("../commands/image-gc.ts"),
  },
  {
    name: "image build",
    summary: "make an image from a directory and a manifest",
    load: () => import("../commands/image-build.ts"),
  },
  {
    name: "config",
    summary: "print the configuration in effect",
    load: () => import("../commands/config.ts"),
  },
  {
    name: "metadata-service",
    summary: "serve the metadata of running containers to their apps",
    load: () => import("../commands/metadata-service.ts"),
  },
  {
    name: "version",
    summary: "print the versions of rkt and of the specification",
    load: () => import("../commands/version.ts"),
  },
  {
    name: "help",
    summary: "show what a command does and takes",
    load: () => import("../commands/help.ts"),
  },
];

/** What the commands of two words do, by their first. */
export const groups: Readonly<Record<string, string>> = { image: "Works with the images in the store." };

/** Runs the command that `words` ask for. `context` is filled in as it becomes known, for whoever renders an error. */
export async function runCommand(words: readonly string[], context: ErrorContext): Promise<void> {
  const { given, rest } = takeGlobals(words);
  const [first] = rest;
  if (first === undefined) return await withoutCommand(given);
  if (Object.hasOwn(groups, first)) {
    const within = takeGlobals(rest.slice(1));
    given.push(...within.given);
    if (within.rest.length === 0) return await withoutCommand(given, first);
    rest.splice(0, rest.length, ...optionsFirst(first, within.rest));
  }

  const { entry, before, command } = await commandOf(rest);
  context.command = entry.name;
  const line = scanWords(
    rest.slice(before.words + entry.name.split(" ").length),
    { ...globalOptions, ...command.options },
    command.grammar,
  );
  line.options.unshift(...before.options);
  const globals = await readGlobals([...given, ...withdrawGlobals(line)]);
  context.debug = globals.debug;
  if (globals.help) {
    const { showHelp } = await import("../commands/help.ts");
    return await showHelp(entry.name);
  }
  checkOperands(entry.name, command, line);
  if (command.needsRoot === true) requireRoot(entry.name);
  await command.run(line, globals);
}

/** The options before the command's name. */
function takeGlobals(words: readonly string[]): { given: OptionWord[]; rest: string[] } {
  const given: OptionWord[] = [];
  let i = 0;
  while (isOption(words[i] ?? "")) {
    if (words[i] === "--version" || words[i] === "-version") return { given, rest: ["version"] };
    // It may be the command's, whose name is still to come.
    if (!isKnown(words[i] ?? "", globalOptions)) break;
    const { option, next } = readOption(words, i, globalOptions);
    given.push(option);
    i = next;
  }
  return { given, rest: words.slice(i) };
}

/** The words of a group's command, with options that stand between the two parts of its name before both. */
function optionsFirst(group: string, words: readonly string[]): string[] {
  if (!isOption(words[0] ?? "")) return [group, ...words];
  const name = words.findIndex((word) => namedCommand([group, word]) !== undefined);
  return name < 0 ? [...words] : [...words.slice(0, name), group, ...words.slice(name)];
}

interface FoundCommand {
  entry: CommandEntry;
  command: Command;
  /** Options of the command's own that stand before its name, and how many words they are. */
  before: { options: OptionWord[]; words: number };
}

/** The command that the words ask for, whose own options may stand before its name (`rkt --net=host run`). */
async function commandOf(words: readonly string[]): Promise<FoundCommand> {
  const [first = ""] = words;
  if (!isOption(first)) {
    const entry = findCommand(words);
    return { entry, command: (await entry.load()).command, before: { options: [], words: 0 } };
  }
  for (let i = 1; i < words.length; i++) {
    const entry = namedCommand(words.slice(i));
    if (entry === undefined) continue;
    const { command } = await entry.load();
    const options = optionsUpTo(words.slice(0, i), { ...globalOptions, ...command.options });
    if (options !== undefined) return { entry, command, before: { options, words: i } };
  }
  // Nobody's: the error says which option was meant.
  readOption(words, 0, globalOptions);
  throw usageError("there is no command", "`rkt help` lists the commands");
}

/** The options that the words are, and nothing else; undefined when they are not. */
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

/** Only the name of a group is a question by itself. */
async function withoutCommand(given: readonly OptionWord[], group?: string): Promise<void> {
  const { showHelp } = await import("../commands/help.ts");
  const globals = await readGlobals(given);
  if (globals.help || group !== undefined) return await showHelp(group);
  throw usageError("there is no command", "`rkt help` lists the commands");
}

function namedCommand(words: readonly string[]): CommandEntry | undefined {
  const named = (name: string) => commands.find((entry) => entry.name === name || entry.alias === name);
  return named(words.slice(0, 2).join(" ")) ?? named(words[0] ?? "");
}

/** The command whose name the words begin with. */
export function findCommand(words: readonly string[]): CommandEntry {
  const [first = "", second = ""] = words;
  const entry = namedCommand(words);
  if (entry !== undefined) return entry;
  const group = Object.hasOwn(groups, first);
  const word = group ? `${first} ${second}` : first;
  const near = nearest(
    word,
    commands.map((other) => other.name),
  );
  throw usageError(
    `unknown command "${word}"`,
    near === undefined ? `\`rkt help${group ? ` ${first}` : ""}\` lists the commands` : `did you mean \`rkt ${near}\`?`,
  );
}

/** Takes the global options out of a command's line, wherever they stand. */
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
