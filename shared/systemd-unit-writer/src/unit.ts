/**
 * Writes the text of a unit file from options in order (systemd.syntax(7)).
 *
 * The text always has one line per option: a value that systemd would read back as a different one, or as two, is
 * refused.
 */

import { shown, UnitError, type UnitPlace } from "./error.ts";
import { refuseUnwritable, utf8 } from "./text.ts";

/** A value that escapes itself: made by `execLine`, `words`, `environment`, `path`, `unitNames`. */
export interface EscapedValue {
  /** The text after `=`. Throws UnitError without a place. */
  text(): string;
}

/**
 * A string is in systemd's own syntax, so specifiers and quotes have their meaning. It must be one line that systemd
 * reads back unchanged.
 */
export type UnitValue = string | EscapedValue;

export type UnitOption = readonly [section: string, option: string, value: UnitValue];

/** systemd's LONG_LINE_MAX, in bytes: systemd does not load a file with a longer line. */
const LONG_LINE_MAX = 1024 * 1024;

const NAME = /^[A-Za-z][A-Za-z0-9-]*$/;

/**
 * Sections stand in the order in which they are first named, options in the
 * order given; a repeated option is repeated, and an empty value resets a list.
 */
export function writeUnit(options: readonly UnitOption[]): string {
  const sections = new Map<string, string[]>();
  for (const [section, option, value] of options) {
    const line = optionLine({ section, option }, value);
    const lines = sections.get(section);
    if (lines === undefined) sections.set(section, [line]);
    else lines.push(line);
  }
  return [...sections].map(([section, lines]) => `[${section}]\n${lines.join("")}`).join("\n");
}

function optionLine(place: UnitPlace, value: UnitValue): string {
  if (!NAME.test(place.section))
    throw new UnitError("section-name", `section name "${shown(place.section)}" is not valid`);
  if (!NAME.test(place.option))
    throw new UnitError("option-name", `[${place.section}]: option name "${shown(place.option)}" is not valid`);
  try {
    const text = typeof value === "string" ? value : value.text();
    checkValue(text);
    const line = `${place.option}=${text}\n`;
    if (utf8(line).length > LONG_LINE_MAX)
      throw new UnitError("line-length", `the line would be longer than ${LONG_LINE_MAX} bytes, systemd's limit`);
    return line;
  } catch (error) {
    if (!(error instanceof UnitError)) throw error;
    throw new UnitError(error.rule, error.detail, place);
  }
}

/** Checks every value, also an escaped one: the last line of defence against a second line. */
function checkValue(text: string): void {
  // A tab is white space within a line; all other control characters are refused, line ends among them.
  refuseUnwritable("the value", text.replaceAll("\t", " "));
  if (/^[ \t]|[ \t]$/.test(text))
    throw new UnitError("surrounding-space", "the value begins or ends with white space, which systemd strips");
  // An even number of backslashes is no continuation: systemd.syntax(7).
  if (/(?<!\\)(?:\\\\)*\\$/.test(text))
    throw new UnitError("continuation", "the value ends with a backslash, which continues on the next line");
}
