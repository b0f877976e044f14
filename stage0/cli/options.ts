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

/** The values of all options of the table. Words of other tables are skipped. */
export function readOptions<const T extends OptionTable>(words: readonly OptionWord[], table: T): Values<T> {
  const given = new Map<string, string[]>();
  for (const { name, value } of words) given.set(name, [...(given.get(name) ?? []), value]);
  checkExclusive(given, table);
  const values: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(table)) values[name] = typedValue(name, option, given.get(name) ?? []);
  return values as Values<T>;
}

/** The last of several flags decides. A text that is given twice is an error, because it is unclear which is meant. */
function typedValue(name: string, { type, array }: Option, given: readonly string[]): unknown {
  if (type === "boolean") return given.at(-1) === "true";
  if (array === true) return given;
  if (given.length > 1) throw usageError(`--${name} is given twice`);
  return given[0];
}

/** Throws when two options of one group are given, whatever their values. */
function checkExclusive(given: ReadonlyMap<string, unknown>, table: OptionTable): void {
  const first = new Map<string, string>();
  for (const [name, { exclusive }] of Object.entries(table)) {
    if (exclusive === undefined || !given.has(name)) continue;
    const other = first.get(exclusive);
    if (other !== undefined) throw usageError(`arguments ${other} and ${name} are mutually exclusive`);
    first.set(exclusive, name);
  }
}

/** How JSON is written. */
export interface JsonForm {
  /** Indented, for people; else one line, for programs. */
  pretty: boolean;
}

/** The JSON that `--format` asks for; undefined: another form. */
export function jsonForm({ format }: { format: string | undefined }): JsonForm | undefined {
  return format === "json" || format === "json-pretty" ? { pretty: format === "json-pretty" } : undefined;
}
