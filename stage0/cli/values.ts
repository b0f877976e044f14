/**
 * Parses the values of options. A value that breaks its rule is a usage error that names the option and shows the right
 * form. Pure.
 */

import { usageError } from "../../shared/errors.ts";
import { quote } from "../../shared/schema/manifest-error.ts";
import type { Rule } from "../../shared/schema/place.ts";
import type { NameValue } from "../../shared/schema/types.ts";
import { argument } from "../../shared/schema/values.ts";

export function refuse(option: string, text: string, why: string, form?: string): never {
  throw usageError(`--${option} ${quote(text)}: ${why}`, form === undefined ? undefined : `--${option}=${form}`);
}

/** Returns the value if it follows the rule. */
export function checked(option: string, value: string, rule: Rule): string {
  const broken = rule(value);
  if (broken !== undefined) refuse(option, value, broken);
  return value;
}

/** `KEY=VALUE,KEY=VALUE`, each key one of `keys`, none twice. */
export function parsePairs<K extends string>(
  option: string,
  text: string,
  words: readonly string[],
  keys: readonly K[],
  form: string,
): Partial<Record<K, string>> {
  const pairs: Partial<Record<K, string>> = {};
  for (const word of words) {
    const equals = word.indexOf("=");
    const key = keys.find((name) => name === word.slice(0, Math.max(equals, 0)));
    if (key === undefined)
      refuse(option, text, `${quote(word)} is not ${keys.map((name) => `${name}=`).join(", ")}`, form);
    if (pairs[key] !== undefined) refuse(option, text, `${key} is given twice`, form);
    pairs[key] = word.slice(equals + 1);
  }
  return pairs;
}

export function parsePair(option: string, text: string): NameValue {
  const equals = text.indexOf("=");
  if (equals < 1) refuse(option, text, "is not NAME=VALUE");
  return { name: text.slice(0, equals), value: text.slice(equals + 1) };
}

/** Parses NAME=VALUE texts. `rule` is for the names; a name that is given twice is an error. */
export function parseUniquePairs(option: string, texts: readonly string[], rule: Rule): NameValue[] {
  const names = new Set<string>();
  return texts.map((text) => {
    const pair = parsePair(option, text);
    checked(option, pair.name, rule);
    checked(option, pair.value, argument);
    if (names.has(pair.name)) refuse(option, text, `${pair.name} is given twice`);
    names.add(pair.name);
    return pair;
  });
}

/** The id above it is -1, which chown(2) takes for "no change". */
const MAX_ID = 4_294_967_294;

export function parseId(option: string, text: string): number {
  return parseInteger(option, text, 0, MAX_ID);
}

export function parseInteger(option: string, text: string, least: number, most: number): number {
  const number = /^-?[0-9]{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(number >= least && number <= most)) refuse(option, text, `must be a number from ${least} to ${most}`);
  return number;
}
