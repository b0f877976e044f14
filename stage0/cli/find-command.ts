import { usageError } from "../../shared/errors.ts";
import type { CommandEntry, CommandTable } from "./command.ts";
import { nearest } from "./words.ts";

/** The command of that name, or undefined. */
export function namedCommand(words: readonly string[], { commands }: CommandTable): CommandEntry | undefined {
  const named = (name: string) => commands.find((entry) => entry.name === name || entry.alias === name);
  return named(words.slice(0, 2).join(" ")) ?? named(words[0] ?? "");
}

/** The command whose name the words begin with. Throws a usage error that suggests a similar name. */
export function findCommand(words: readonly string[], table: CommandTable): CommandEntry {
  const [first = "", second = ""] = words;
  const entry = namedCommand(words, table);
  if (entry !== undefined) return entry;
  const group = Object.hasOwn(table.groups, first);
  const word = group ? `${first} ${second}` : first;
  const near = nearest(
    word,
    table.commands.map((other) => other.name),
  );
  throw usageError(
    `unknown command "${word}"`,
    near === undefined ? `\`rkt help${group ? ` ${first}` : ""}\` lists the commands` : `did you mean \`rkt ${near}\`?`,
  );
}
