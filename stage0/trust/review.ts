/** Shows a key to the user, and asks whether to trust it. All text in a key is untrusted. */

import { readSync } from "node:fs";
import { isatty } from "node:tty";
import { errorCode, printable, RktError } from "../../shared/errors.ts";
import { writeError } from "../terminal/output.ts";
import type { KeyPairKey } from "./key-pair.ts";
import { formatDate, type KeyFacts, type PartFacts, spacedFingerprint } from "./public-key.ts";

/** Blanks of every kind, and what terminals show as one. */
const BLANKS = /[\p{White_Space}\p{Default_Ignorable_Code_Point}\u2800]+/gu;
/** Of one text of a stranger's, and of texts of one kind. */
const MOST_CHARACTERS = 200;
const MOST_TEXTS = 10;

/** A stranger's text in a line of ours: with single blanks, and no longer than a person reads. */
export function strangersText(text: string): string {
  // What reorders or moves text is seen, not taken away.
  const all = [...printable(text).replace(BLANKS, " ").trim()];
  return all.length > MOST_CHARACTERS ? `${all.slice(0, MOST_CHARACTERS).join("")}…` : all.join("");
}

const INDENT = "  fingerprint: ".length;

/**
 * One line for each thing to compare or to know. A stranger's text is broken here and not by the terminal, whose next line
 * would begin where ours do: the text could look like a fingerprint of rkt's own.
 */
export function describeKey(facts: KeyFacts, source: string, columns = process.stderr.columns ?? 80): string[] {
  const [first = "none that the key has signed", ...others] = facts.identities;
  const shown = others.slice(0, MOST_TEXTS - 1);
  const more = others.length - shown.length;
  const lines = (label: string, text: string): string[] =>
    broken(strangersText(text), columns - INDENT - 1).map(
      (line, i) => `${i === 0 ? label : " ".repeat(INDENT)}${line}`,
    );
  const revocation = ({ revoked }: PartFacts): string[] =>
    revoked === undefined ? [] : lines(" ".repeat(INDENT), `REVOKED on ${formatDate(revoked.at)}: ${revoked.reason}`);
  return [
    ...lines("rkt: key from ", source),
    `  fingerprint: ${spacedFingerprint(facts.fingerprint)}`,
    `  kind:        ${describePart(facts)}`,
    ...revocation(facts),
    ...lines("  identity:    ", first),
    ...shown.flatMap((identity) => lines(" ".repeat(INDENT), identity)),
    ...(more > 0 ? lines(" ".repeat(INDENT), `and ${more} more`) : []),
    ...facts.subkeys.flatMap((subkey) => [
      `  subkey:      ${spacedFingerprint(subkey.fingerprint)}, ${describePart(subkey)}`,
      ...revocation(subkey),
    ]),
  ];
}

/** The same of a key that names no owner. */
export const describePair = ({ fingerprint, algorithm }: KeyPairKey, source: string): string[] =>
  [
    `rkt: key from ${strangersText(source)}`,
    `  fingerprint: ${spacedFingerprint(fingerprint)}`,
    `  kind:        ${algorithm}, without an owner's name and an end, as cosign makes them`,
  ].map(printable);

/** Pieces that fit. What is not ASCII may take two columns. */
function broken(text: string, columns: number): string[] {
  const pieces: string[] = [];
  let [piece, width] = ["", 0];
  for (const character of text) {
    const own = character < "\u007f" ? 1 : 2;
    if (width + own > Math.max(columns, 2)) {
      pieces.push(piece);
      [piece, width] = ["", 0];
    }
    piece += character;
    width += own;
  }
  return [...pieces, piece];
}

function describePart({ algorithm, created, expires }: PartFacts): string {
  const parts = [`${algorithm} of ${formatDate(created)}`];
  if (expires !== undefined) {
    parts.push(`${expires.getTime() <= Date.now() ? "EXPIRED on" : "until"} ${formatDate(expires)}`);
  }
  return parts.join(", ");
}

/** Throws if there is no terminal on which the user can answer. */
export function checkTerminal(): void {
  if (isatty(0)) return;
  throw new RktError("no-terminal", "there is no terminal to ask whether the key's fingerprint is the right one", {
    hint: "compare it yourself, then use --skip-fingerprint-review",
  });
}

/** Asks until there is an answer; the end of the input means no. */
export function askYesNo(question: string): boolean {
  for (;;) {
    writeError(`${printable(question)} (yes/no) `);
    const answer = readLine()?.trim().toLowerCase();
    if (answer === "yes" || answer === "y") return true;
    if (answer === "no" || answer === "n") return false;
    if (answer === undefined) {
      writeError("\n");
      return false;
    }
  }
}

/** Reads a line of stdin; undefined at the end of the input. */
function readLine(): string | undefined {
  const chunk = Buffer.alloc(4096);
  let text = "";
  while (!text.endsWith("\n")) {
    const length = readInput(chunk);
    if (length === 0) return undefined;
    text += chunk.toString("utf8", 0, length);
  }
  return text;
}

function readInput(chunk: Buffer): number {
  try {
    return readSync(0, chunk);
  } catch (error) {
    // EIO: the terminal was closed.
    if (errorCode(error) === "EIO") return 0;
    throw error;
  }
}
