/** What a command is: each module of `commands/` exports one as `command`. */

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
  /** Operands it takes: the least and the most. */
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
  /** What the commands of two words do, by their first word. */
  groups: Readonly<Record<string, string>>;
}

/** The options of a line, wherever they stand, and its operands: for commands whose operands have none of their own. */
export function readLine<const T extends OptionTable>(
  line: Line,
  table: T,
): { options: Values<T>; operands: string[] } {
  return { options: readOptions(allOptions(line), table), operands: line.operands.map(({ text }) => text) };
}
