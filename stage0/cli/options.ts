/**
 * What a command's options mean: scanned words to typed values, by yargs.
 * yargs is loaded when there is an option to read, not before.
 */

import { usageError } from "../../shared/errors.ts";
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

/** Names and values stay as they are. Several of one option make a list; yargs' own arrays lose an empty value. */
const PARSER = {
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
  const ofType = (type: Option["type"]) => Object.keys(table).filter((name) => table[name]?.type === type);
  const given = yargs([])
    .parserConfiguration(PARSER)
    .help(false)
    .version(false)
    .detectLocale(false)
    .exitProcess(false)
    .string(ofType("string"))
    .boolean(ofType("boolean"))
    .conflicts(conflicts(exclusive))
    .fail((message, error) => {
      throw error ?? usageError(`${message?.charAt(0).toLowerCase()}${message?.slice(1)}`);
    })
    .parseSync(words.map(({ name, value }) => `--${name}=${value}`));

  for (const [name, option] of Object.entries(table))
    if (given[name] !== undefined) values[name] = finalValue(name, [given[name]].flat(), option);
  return values as Values<T>;
}

function absentValue(option: Option): unknown {
  if (option.type === "boolean") return false;
  return option.array === true ? [] : undefined;
}

/** Of a flag given twice the last counts; of a single value it is unclear which was meant. */
function finalValue(name: string, given: readonly unknown[], option: Option): unknown {
  if (option.array === true) return given;
  if (given.length > 1 && option.type === "string") throw usageError(`--${name} is given twice`);
  return given.at(-1);
}

function conflicts(exclusive: Exclusive): Record<string, string[]> {
  const rules: Record<string, string[]> = {};
  for (const group of exclusive) for (const [i, name] of group.entries()) rules[name] = group.slice(i + 1);
  return rules;
}
