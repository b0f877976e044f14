/**
 * The syntax of rkt's command line. Options have the forms of Go's flag package (`-volume x`, `--volume x`,
 * `--volume=x`, `--rm`, `--rm=false`), and their place has a meaning: an option after an image belongs to that image.
 *
 *     rkt run --net=host etcd.aci --user=etcd -- -name infra0 --- proxy.aci
 *             '--------' '----------------------------------' '-------'
 *
 * `scanWords` splits the words into options and operands, and `options.ts` makes typed values of the options (ADR 8).
 * Pure.
 */

import { usageError } from "../../shared/errors.ts";

export interface Option {
  type: "string" | "boolean";
  /** The option may be given several times. Without `array`, a second time is an error. */
  array?: boolean;
  /** The value if the option is given without one. With `bare`, a value can only follow after "=". */
  bare?: string;
  choices?: readonly string[];
  /** The name of a group of options: at most one of the group may be given. */
  exclusive?: string;
  /** Another name, which the help does not show. */
  alias?: string;
  /** What the help calls the value: `NAME=VALUE`. */
  value?: string;
  description: string;
  /** Heading in the help; "Options" by default. */
  group?: string;
  hidden?: boolean;
}

export type OptionTable = Readonly<Record<string, Option>>;

export interface OptionWord {
  /** The name in the table. */
  name: string;
  /** "true" or "false" for a boolean. */
  value: string;
}

export interface Operand {
  text: string;
  /** The options between this operand and the next. */
  options: OptionWord[];
  /** The words for the app. With the plain grammar there are none. */
  arguments: string[] | undefined;
}

export interface Line {
  /** The options before the first operand. */
  options: OptionWord[];
  operands: Operand[];
}

/** The options of a line, wherever they stand. */
export const allOptions = ({ options, operands }: Line): OptionWord[] => [
  ...options,
  ...operands.flatMap((operand) => operand.options),
];

/**
 * How the words of a command are read.
 * - "plain": options stand anywhere, and "--" ends them.
 * - "images": options belong to the operand before them, "--" begins that
 *   operand's arguments, and "---" ends them.
 * - "command": the first operand ends the options. The words after it are its
 *   arguments, without a leading "--".
 */
export type Grammar = "plain" | "images" | "command";

export function scanWords(words: readonly string[], table: OptionTable, grammar: Grammar = "plain"): Line {
  const line: Line = { options: [], operands: [] };
  const addOperand = (text: string, passedOn?: string[]) =>
    line.operands.push({ text, options: [], arguments: passedOn });
  let optionsEnded = false;
  let i = 0;
  while (i < words.length) {
    const word = words[i] ?? "";
    const operand = line.operands.at(-1);
    if (grammar === "images" && word === "--") {
      i = takeArguments(words, i + 1, operand);
    } else if (grammar === "images" && word === "---") {
      i++;
    } else if (!optionsEnded && word === "--") {
      optionsEnded = true;
      i++;
    } else if (!optionsEnded && isOption(word)) {
      const { option, next } = readOption(words, i, table);
      (operand ?? line).options.push(option);
      i = next;
    } else if (grammar === "command") {
      const rest = words.slice(i + 1);
      addOperand(word, rest[0] === "--" ? rest.slice(1) : rest);
      break;
    } else {
      addOperand(word);
      i++;
    }
  }
  return line;
}

function takeArguments(words: readonly string[], from: number, operand: Operand | undefined): number {
  if (operand === undefined) throw usageError('there is no image before "--"', "arguments follow their image");
  if (operand.arguments !== undefined)
    throw usageError(`a second "--" for ${operand.text}`, 'an image has one list of arguments; "---" ends it');
  const end = words.indexOf("---", from);
  operand.arguments = words.slice(from, end < 0 ? undefined : end);
  return end < 0 ? words.length : end + 1;
}

/** A lone "-" is an operand: standard input. */
export function isOption(word: string): boolean {
  return word.startsWith("-") && word !== "-";
}

/** Reads the option at `words[i]`. `next` is the index of the word after it. */
export function readOption(
  words: readonly string[],
  i: number,
  table: OptionTable,
): { option: OptionWord; next: number } {
  const word = words[i] ?? "";
  const { spelled, given } = splitOption(word);
  const name = lookUp(spelled, table);
  if (name === undefined) throw unknownOption(word, spelled, table);
  const { type, bare, choices, value: form = "VALUE" } = table[name] as Option;
  if (type === "boolean") return { option: { name, value: readBoolean(name, given ?? "true") }, next: i + 1 };
  const detached = given === undefined && bare === undefined;
  const value = detached ? words[i + 1] : (given ?? bare);
  if (value === undefined) throw usageError(`--${name} needs a value`, `--${name}=${form}`);
  if (choices !== undefined && !choices.includes(value))
    throw usageError(`--${name} is ${choices.join(" or ")}, not ${JSON.stringify(value)}`);
  return { option: { name, value }, next: detached ? i + 2 : i + 1 };
}

function splitOption(word: string): { spelled: string; given: string | undefined } {
  const [, spelled = word, given] = /^--?([^-=][^=]*)(?:=(.*))?$/s.exec(word) ?? [];
  return { spelled, given };
}

/** Whether a word that is an option is one of the table's. */
export const isKnown = (word: string, table: OptionTable): boolean =>
  lookUp(splitOption(word).spelled, table) !== undefined;

function lookUp(spelled: string, table: OptionTable): string | undefined {
  if (Object.hasOwn(table, spelled)) return spelled;
  return Object.keys(table).find((name) => table[name]?.alias === spelled);
}

function unknownOption(word: string, spelled: string, table: OptionTable): Error {
  const names = Object.keys(table).filter((name) => table[name]?.hidden !== true);
  const near = nearest(spelled, names);
  const shown = word.replace(/=.*/s, "");
  return usageError(
    `unknown option ${shown}`,
    near === undefined ? "--help lists the options" : `did you mean --${near}?`,
  );
}

/** The spellings of strconv.ParseBool. */
export function parseBoolean(text: string): boolean | undefined {
  if (/^(?:1|t|T|true|True|TRUE)$/.test(text)) return true;
  if (/^(?:0|f|F|false|False|FALSE)$/.test(text)) return false;
  return undefined;
}

function readBoolean(name: string, text: string): string {
  const value = parseBoolean(text);
  if (value === undefined) throw usageError(`--${name} is true or false, not ${JSON.stringify(text)}`);
  return String(value);
}

/** The candidate that `word` is most likely a misspelling of. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  // Up to a third of the letters may be wrong. With more wrong letters it is another word.
  let bound = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word, candidate);
    if (distance < bound) {
      best = candidate;
      bound = distance;
    }
  }
  return best;
}

/** Insertions, deletions, replacements and swaps of neighbours that turn one word into the other. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (above[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let distance = Math.min(replaced, (above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        distance = Math.min(distance, (before[j - 2] ?? 0) + 1);
      row.push(distance);
    }
    before = above;
    above = row;
  }
  return above[b.length] ?? 0;
}
