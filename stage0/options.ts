/**
 * What a command's options mean: scanned words to typed values, by yargs.
 * yargs is loaded when there is an option to read, not before.
 */

import { usageError } from "../shared/errors.ts";
import type { Option, OptionTable, OptionWord } from "./words.ts";

/** Lists are empty, flags false, texts undefined unless given. */
export type Values<T extends OptionTable> = {
  [Name in keyof T]: T[Name] extends { type: "boolean" }
    ? boolean
    : T[Name] extends { array: true }
      ? string[]
      : string | undefined;
};

/** Options of which at most one may be given. */
export type Exclusive = readonly (readonly string[])[];

const PARSER = {
  // Names and values stay as they are.
  "camel-case-expansion": false,
  "dot-notation": false,
  "boolean-negation": false,
  "parse-numbers": false,
  "duplicate-arguments-array": true,
};

export async function readOptions<const T extends OptionTable>(
  words: readonly OptionWord[],
  table: T,
  exclusive: Exclusive = [],
): Promise<Values<T>> {
  const values: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(table)) values[name] = absentValue(option);
  if (words.length === 0) return values as Values<T>;

  const { default: yargs } = await import("yargs");
  const names = (wanted: (option: Option) => boolean) =>
    Object.keys(table).filter((name) => wanted(table[name] as Option));
  const given = yargs([])
    .parserConfiguration(PARSER)
    .help(false)
    .version(false)
    .detectLocale(false)
    .exitProcess(false)
    .string(names((option) => option.type === "string"))
    .boolean(names((option) => option.type === "boolean"))
    .array(names((option) => option.array === true))
    .conflicts(conflicts(exclusive))
    .fail((message, error) => {
      throw error ?? usageError(`${message?.charAt(0).toLowerCase()}${message?.slice(1)}`);
    })
    .parseSync(words.map(({ name, value }) => `--${name}=${value}`));

  for (const name of Object.keys(table)) if (given[name] !== undefined) values[name] = single(name, given[name], table);
  return values as Values<T>;
}

function absentValue(option: Option): unknown {
  if (option.type === "boolean") return false;
  return option.array === true ? [] : undefined;
}

/** Of a flag given twice the last counts; of a value it is unclear which was meant. */
function single(name: string, value: unknown, table: OptionTable): unknown {
  const option = table[name] as Option;
  if (!Array.isArray(value) || option.array === true) return value;
  if (option.type === "boolean") return value.at(-1);
  throw usageError(`--${name} is given twice`);
}

function conflicts(exclusive: Exclusive): Record<string, string[]> {
  const rules: Record<string, string[]> = {};
  for (const group of exclusive) for (const [i, name] of group.entries()) rules[name] = group.slice(i + 1);
  return rules;
}
