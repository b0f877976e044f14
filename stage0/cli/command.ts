/** The interface of a command. Each module of `commands/` exports one as `command`. */

import type { GlobalOptions } from "./globals.ts";
import { readOptions, type Values } from "./options.ts";
import { allOptions, type Grammar, type Line, type OptionTable } from "./words.ts";

export interface Command {
  /** After "rkt": `fetch [options] IMAGE...`. */
  usage: string;
  /** Paragraphs of the help, separated by empty lines. */
  description: string;
  examples: readonly (readonly [words: string, meaning: string])[];
  options: OptionTable;
  /** The least and the greatest number of operands. */
  operands: readonly [least: number, most: number];
  /** "plain" by default. */
  grammar?: Grammar;
  needsRoot?: boolean;
  run(line: Line, globals: GlobalOptions, table: CommandTable): Promise<void>;
}

export interface CommandEntry {
  /** One word, or two. */
  name: string;
  /** Another name of one word. */
  alias?: string;
  summary: string;
  load(): Promise<{ command: Command }>;
}

export interface CommandTable {
  commands: readonly CommandEntry[];
  /** Descriptions of the groups of commands, by the first word of the commands' names. */
  groups: Readonly<Record<string, string>>;
}

/** The options and operands of a line: for commands in which options do not belong to single operands. */
export function readLine<const T extends OptionTable>(
  line: Line,
  table: T,
): { options: Values<T>; operands: string[] } {
  return { options: readOptions(allOptions(line), table), operands: line.operands.map(({ text }) => text) };
}
