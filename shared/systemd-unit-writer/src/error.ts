/** The rule that was broken. Names are stable, so that callers can match them. */
export type UnitRule =
  | "section-name"
  | "option-name"
  | "surrogate"
  | "noncharacter"
  | "nul"
  | "control-character"
  | "surrounding-space"
  | "continuation"
  | "line-length"
  | "program"
  | "prefix"
  | "unquotable"
  | "environment-name"
  | "path"
  | "unit-name";

/** Where in a unit a value belongs. */
export interface UnitPlace {
  section: string;
  option: string;
}

/**
 * A value or name that no unit file can express. The message is one line and quotes only names, never a value: that may
 * be long, secret or hostile.
 */
export class UnitError extends Error {
  readonly rule: UnitRule;
  /** What is wrong, without the place. */
  readonly detail: string;
  /** Undefined if a name was refused, and not an option's value. */
  readonly section: string | undefined;
  readonly option: string | undefined;

  constructor(rule: UnitRule, detail: string, place?: UnitPlace) {
    super(place === undefined ? detail : `[${shown(place.section)}] ${shown(place.option)}=: ${detail}`);
    this.name = "UnitError";
    this.rule = rule;
    this.detail = detail;
    this.section = place?.section;
    this.option = place?.option;
  }
}

/** A name as it may stand in a message: short, and without control characters. */
export function shown(name: string): string {
  const text = JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}…` : name).slice(1, -1);
  return text.replace(/[\u007f-\u009f\u2028\u2029]/g, "?");
}
