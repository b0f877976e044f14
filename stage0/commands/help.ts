import type { Command } from "../cli/command.ts";
import { findCommand } from "../cli/find-command.ts";
import { showHelp } from "../cli/help.ts";

export const command: Command = {
  usage: "help [COMMAND]",
  description: "Shows what a command does, and its options; without a command, lists all commands.",
  examples: [["rkt help run", "the same as rkt run --help"]],
  options: {},
  operands: [0, 2],
  async run(line, _globals, table) {
    const words = line.operands.map(({ text }) => text);
    const [first = ""] = words;
    if (words.length === 0) return await showHelp(undefined, table);
    const isGroup = words.length === 1 && Object.hasOwn(table.groups, first);
    await showHelp(isGroup ? first : findCommand(words, table).name, table);
  },
};
