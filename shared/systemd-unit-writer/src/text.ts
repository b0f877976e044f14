/**
 * Which characters a unit file may have. systemd drops a line that is not UTF-8 by its own definition, which excludes
 * surrogates and noncharacters.
 */

import { UnitError } from "./error.ts";

const encoder = new TextEncoder();

export const utf8 = (text: string): Uint8Array => encoder.encode(text);

/** C0, DEL and C1. Newline, carriage return and NUL each end a line for systemd. */
export const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const NONCHARACTER = /\p{Noncharacter_Code_Point}/u;

/** `what` names the text in the error: "value", "word 2". */
export function refuseSurrogates(what: string, text: string): void {
  if (!text.isWellFormed()) throw new UnitError("surrogate", `${what} has half of a surrogate pair: not a text`);
}

export function refuseNul(what: string, text: string): void {
  if (text.includes("\0")) throw new UnitError("nul", `${what} contains NUL, which no command or variable can`);
}

/** For a text that systemd reads without escapes. */
export function refuseUnwritable(what: string, text: string): void {
  refuseSurrogates(what, text);
  const control = CONTROL.exec(text);
  if (control !== null) {
    const code = control[0].charCodeAt(0).toString(16).padStart(4, "0");
    throw new UnitError("control-character", `${what} contains the control character U+${code.toUpperCase()}`);
  }
  if (NONCHARACTER.test(text))
    throw new UnitError("noncharacter", `${what} contains a Unicode noncharacter, which systemd takes for bad UTF-8`);
}
