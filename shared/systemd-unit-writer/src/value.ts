/**
 * Escapes values for the different kinds of options: systemd.syntax(7) "QUOTING", systemd.service(5) "COMMAND LINES",
 * systemd.unit(5) "SPECIFIERS".
 */

import { UnitError } from "./error.ts";
import { unitName } from "./name.ts";
import { refuseNul, refuseSurrogates, refuseUnwritable, utf8 } from "./text.ts";
import type { EscapedValue } from "./unit.ts";

/**
 * Special executable prefixes of systemd.service(5): `-` a failure is success,
 * `@` the second word is argv[0], `:` no variables, `+` full privileges, `!`
 * and `!!` no change of user.
 */
export type ExecPrefix = "-" | "@" | ":" | "+" | "!" | "!!";

export interface ExecOptions {
  prefixes?: readonly ExecPrefix[];
}

/** Text without specifiers: `%` doubled. For a string value that is to be taken literally (`Description=`). */
export const specifierEscape = (text: string): string => text.replaceAll("%", "%%");

/**
 * One command of an `Exec…=` option: the program and its arguments reach
 * execve(2) byte for byte. The program is an absolute path or a plain name
 * that systemd looks up; with prefix `@` the second word is its argv[0].
 *
 * A word may have any text, except NUL and half a surrogate pair. In the program's name systemd also refuses control
 * characters, quotes, backslashes and a slash at the end.
 */
export function execLine(argv: readonly string[], options: ExecOptions = {}): EscapedValue {
  return { text: () => execText(argv, options.prefixes ?? []) };
}

function execText(argv: readonly string[], prefixes: readonly ExecPrefix[]): string {
  const [program, ...words] = argv;
  checkPrefixes(prefixes);
  if (program === undefined) throw new UnitError("program", "the command line is empty");
  if (prefixes.includes("@") && words.length === 0)
    throw new UnitError("prefix", "prefix @ needs a second word, which becomes argv[0]");
  for (const [i, word] of argv.entries()) {
    refuseSurrogates(`word ${i + 1}`, word);
    refuseNul(`word ${i + 1}`, word);
  }
  const variables = !prefixes.includes(":");
  checkProgram(program, variables && !prefixes.includes("@"));
  // systemd reads the prefixes after unquoting, so they stand within the quotes.
  const first = quote(prefixes.join("") + specifierEscape(program));
  const rest = words.map((word) => quote(variables ? variableEscape(specifierEscape(word)) : specifierEscape(word)));
  return [first, ...rest].join(" ");
}

function checkPrefixes(prefixes: readonly ExecPrefix[]): void {
  if (new Set(prefixes).size !== prefixes.length) throw new UnitError("prefix", "a prefix is given twice");
  if (prefixes.filter((p) => p === "+" || p === "!" || p === "!!").length > 1)
    throw new UnitError("prefix", "only one of the prefixes + ! !! is possible");
}

/** `expanded`: systemd will expand variables in argv[0], which is the program's path. */
function checkProgram(program: string, expanded: boolean): void {
  const refuse = (detail: string): never => {
    throw new UnitError("program", `the program ${detail}`);
  };
  if (program === "") refuse("is an empty word");
  if (/[\u0000-\u001f\u007f"'\\]/.test(program)) refuse("contains a control character, a quote or a backslash");
  if (program.startsWith("/")) {
    if (program.endsWith("/")) refuse("ends with a slash: a directory");
    checkPathLength(program, refuse);
  } else {
    if (program.includes("/")) refuse("is a relative path");
    if (program === "." || program === ".." || utf8(program).length > NAME_MAX) refuse("is not a file name");
    if (/^[-@:+!|]/.test(program)) refuse("begins with a character that is a prefix");
  }
  // The path is used as it is, but argv[0] is expanded: "$$" would break the one, "$" the other.
  if (expanded && program.includes("$")) refuse('contains "$": use prefix ":", or "@" with an argv[0]');
}

/**
 * Words of a list option that is split at white space and unquoted
 * (`ReadOnlyPaths=`, `UnsetEnvironment=`, `Documentation=`…), specifiers
 * escaped. Only some of these options undo backslash escapes, so a word that
 * needs one is refused: control characters, backslashes, both kinds of quotes.
 */
export function words(list: readonly string[]): EscapedValue {
  return { text: () => list.map(listWord).join(" ") };
}

function listWord(word: string, index: number): string {
  const what = `word ${index + 1}`;
  refuseUnwritable(what, word);
  if (word.includes("\\")) throw new UnitError("unquotable", `${what} contains a backslash, which not all lists take`);
  const escaped = specifierEscape(word);
  if (!word.includes('"')) return quote(escaped);
  if (word.includes("'")) throw new UnitError("unquotable", `${what} contains both kinds of quotes`);
  return `'${escaped}'`;
}

/** Assignments of `Environment=`. Values are any text without NUL and noncharacters; `$` has no meaning there. */
export function environment(variables: Iterable<readonly [name: string, value: string]>): EscapedValue {
  return {
    text: () => {
      const assignments: string[] = [];
      for (const [name, value] of variables) {
        if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
          throw new UnitError(
            "environment-name",
            `variable ${assignments.length + 1} has a name systemd does not take`,
          );
        const what = `variable ${name}`;
        refuseNul(what, value);
        // Control characters are possible here, as C escapes.
        refuseUnwritable(what, value.replace(/[\u0000-\u001f\u007f-\u009f]/g, " "));
        assignments.push(quote(specifierEscape(`${name}=${value}`)));
      }
      return assignments.join(" ");
    },
  };
}

const PATH_MAX = 4096;
const NAME_MAX = 255;

function checkPathLength(path: string, refuse: (detail: string) => never): void {
  if (utf8(path).length >= PATH_MAX) refuse(`is longer than ${PATH_MAX - 1} bytes`);
  if (path.split("/").some((name) => utf8(name).length > NAME_MAX)) refuse(`has a name longer than ${NAME_MAX} bytes`);
}

/**
 * The absolute path of an option that takes one, to the end of the line and
 * without quoting (`WorkingDirectory=`, `RootDirectory=`, `TTYPath=`).
 */
export function path(absolute: string): EscapedValue {
  return {
    text: () => {
      const refuse = (detail: string): never => {
        throw new UnitError("path", `the path ${detail}`);
      };
      if (!absolute.startsWith("/")) refuse("is not absolute");
      checkPathLength(absolute, refuse);
      return specifierEscape(absolute);
    },
  };
}

/** Names of a list of units (`Wants=`, `After=`): never quoted, escapes in names stay as they are. */
export function unitNames(list: readonly string[]): EscapedValue {
  return { text: () => list.map(unitName).join(" ") };
}

const variableEscape = (text: string): string => text.replaceAll("$", "$$$$");

const C_ESCAPES: Readonly<Record<string, string>> = {
  "\u0007": "\\a",
  "\b": "\\b",
  "\t": "\\t",
  "\n": "\\n",
  "\v": "\\v",
  "\f": "\\f",
  "\r": "\\r",
  '"': '\\"',
  "\\": "\\\\",
};

/** A word that needs no quotes: it has no separator, quote or escape, and is not the lone `;` between commands. */
const BARE = /^[A-Za-z0-9_/.,:=@+-]+$/;

/**
 * One word, in double quotes if it needs them. Characters that systemd does not accept as UTF-8 are escaped byte by
 * byte.
 */
function quote(word: string): string {
  if (BARE.test(word)) return word;
  const escaped = word.replace(
    /[\u0000-\u001f\u007f-\u009f"\\]|\p{Noncharacter_Code_Point}/gu,
    (c) => C_ESCAPES[c] ?? Array.from(utf8(c), (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join(""),
  );
  return `"${escaped}"`;
}
