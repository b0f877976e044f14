/**
 * Reads typed values from parsed JSON. A place is a value with its path in the document. A reader reports what is wrong
 * with a place and goes on with a stand-in, so that one run finds all problems. `finish` then throws them as a
 * ManifestError: a stand-in never leaves a reader.
 *
 * As in the spec's Go code, null is the same as absent, unknown members are ignored, and upper and lower case are the
 * same in members' names (the spec's own example writes `supplementaryGids`).
 */

import { joinPath, ManifestError, problem, quote, type Step } from "./manifest-error.ts";
import type { Json } from "./types.ts";

export interface Place {
  readonly value: Json | undefined;
  readonly step: Step;
  readonly parent: Place | Document;
}

interface Document {
  /** Its name in errors: "manifest". */
  readonly object: string;
  /** The path of its root, if the document is a part of a larger one. */
  readonly base: string;
  readonly problems: string[];
}

/** The rule that a text breaks, "must be …"; undefined when it keeps it. */
export type Rule = (text: string) => string | undefined;

const MAX_PROBLEMS = 50;

/** The place of a whole document; `base` is its path inside `object`. */
export function root(value: Json, object: string, base = ""): Place {
  return { value, step: "", parent: { object, base, problems: [] } };
}

/** Notes that the value of this place breaks a rule. */
export function report(place: Place, rule: string): void {
  const steps: Step[] = [];
  let at = place;
  for (; "parent" in at.parent; at = at.parent) steps.unshift(at.step);
  const { object, base, problems } = at.parent;
  problems.push(problem(object, joinPath(base, steps), rule));
  if (problems.length === MAX_PROBLEMS) finish(place, undefined);
}

/** Reports that a value is missing; not if its parent is no object, which was reported before. */
export function reportMissing(place: Place): void {
  const { parent, step } = place;
  if (typeof step === "string" && "value" in parent && !isObject(parent.value)) return;
  report(place, "is required");
}

/** Returns the result of reading, or throws the problems that were reported anywhere in the document. */
export function finish<T>(place: Place, result: T): T {
  let at = place;
  while ("parent" in at.parent) at = at.parent;
  const [first, ...others] = at.parent.problems;
  if (first !== undefined) throw new ManifestError(first, ...others);
  return result;
}

export function absent(place: Place): boolean {
  return place.value === undefined || place.value === null;
}

/** Gets the member with this name, or else with one of its old names. Two of them are an error. */
export type Fields = (name: string, ...oldNames: string[]) => Place;

/** Lower case, as the spec's Go code compares: "ſ" counts as "s", and the sign of Kelvin as "k". */
const fold = (name: string): string => name.toLowerCase().replaceAll("ſ", "s");

/** The members of an object. */
export function fields(place: Place): Fields {
  const object = place.value;
  const spelled = new Map<string, string>();
  if (isObject(object)) {
    for (const key of Object.keys(object)) {
      const folded = fold(key);
      const other = spelled.get(folded);
      if (other === undefined) spelled.set(folded, key);
      else report(member(place, key), `is given twice, as ${quote(other)} too`);
    }
  } else if (object === undefined) reportMissing(place);
  else report(place, `must be an object, got ${show(object)}`);

  const get = (name: string): Place => member(place, spelled.get(fold(name)) ?? name);
  return (name, ...oldNames) => {
    const now = get(name);
    const old = oldNames.map(get).filter((field) => !absent(field));
    const [first, second] = absent(now) ? old : [now, ...old];
    if (second !== undefined) report(second, `must not be given beside ${quote(String(first?.step))}`);
    return first ?? now;
  };
}

function member(parent: Place, step: string): Place {
  return { value: isObject(parent.value) ? parent.value[step] : undefined, step, parent };
}

/** The elements of a list; none when it is absent. */
export function items(place: Place): Place[] {
  if (absent(place)) return [];
  if (Array.isArray(place.value)) return place.value.map((value, step) => ({ value, step, parent: place }));
  report(place, `must be a list, got ${show(place.value)}`);
  return [];
}

/** The members of an object whose names the user chose; none when it is absent. */
export function entries(place: Place): [name: string, value: Place][] {
  if (absent(place)) return [];
  if (isObject(place.value)) return Object.keys(place.value).map((name) => [name, member(place, name)]);
  report(place, `must be an object, got ${show(place.value)}`);
  return [];
}

export function string(place: Place, rule?: Rule): string {
  const text = optionalString(place, rule);
  if (text === undefined && absent(place)) reportMissing(place);
  return text ?? "";
}

export function optionalString(place: Place, rule?: Rule): string | undefined {
  if (absent(place)) return undefined;
  if (typeof place.value !== "string") {
    report(place, `must be a string, got ${show(place.value)}`);
    return undefined;
  }
  const broken = rule?.(place.value);
  if (broken !== undefined) report(place, `${broken}, got ${quote(place.value)}`);
  return place.value;
}

export function boolean(place: Place): boolean {
  return optionalBoolean(place) ?? false;
}

export function optionalBoolean(place: Place): boolean | undefined {
  if (absent(place)) return undefined;
  if (typeof place.value === "boolean") return place.value;
  report(place, `must be true or false, got ${show(place.value)}`);
  return undefined;
}

export function integer(place: Place, min: number, max: number): number {
  const number = optionalInteger(place, min, max);
  if (number === undefined && absent(place)) reportMissing(place);
  return number ?? min;
}

export function optionalInteger(place: Place, min: number, max: number): number | undefined {
  if (absent(place)) return undefined;
  const { value } = place;
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
  report(place, `must be an integer from ${min} to ${max}, got ${show(value)}`);
  return undefined;
}

/** Reports each place whose key came before; an empty key is a stand-in. */
export function unique(keyed: readonly (readonly [key: string, place: Place])[]): void {
  const seen = new Set<string>();
  for (const [key, place] of keyed) {
    if (key !== "" && seen.has(key)) report(place, `must be unique in its list, got ${quote(key)} again`);
    seen.add(key);
  }
}

export function isObject(value: Json | undefined): value is { [name: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function show(value: Json | undefined): string {
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) return "a list";
  if (isObject(value)) return "an object";
  return String(value);
}
