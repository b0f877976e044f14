/** Shows a key to the user, and asks whether to trust it. All text in a key is untrusted. */

import { readSync } from "node:fs";
import { isatty } from "node:tty";
import { errorCode, printable, RktError } from "../../shared/errors.ts";
import { writeError } from "../terminal/output.ts";
import type { KeyPairKey } from "./key-pair.ts";
import { formatDate, type KeyFacts, type PartFacts, spacedFingerprint } from "./public-key.ts";

/** The lines that describe a key. */
export function describeKey(facts: KeyFacts, source: string): string[] {
  const [first = "none that the key has signed", ...others] = facts.identities;
  return [
    `rkt: key from ${source}`,
    `  fingerprint: ${spacedFingerprint(facts.fingerprint)}`,
    `  kind:        ${describePart(facts)}`,
    `  identity:    ${first}`,
    ...others.map((identity) => `               ${identity}`),
    ...facts.subkeys.map(
      (subkey) => `  subkey:      ${spacedFingerprint(subkey.fingerprint)}, ${describePart(subkey)}`,
    ),
  ].map(printable);
}

/** The same of a key that names no owner. */
export const describePair = ({ fingerprint, algorithm }: KeyPairKey, source: string): string[] =>
  [
    `rkt: key from ${source}`,
    `  fingerprint: ${spacedFingerprint(fingerprint)}`,
    `  kind:        ${algorithm}, without an owner's name and an end, as cosign makes them`,
  ].map(printable);

function describePart({ algorithm, created, expires, revoked }: PartFacts): string {
  const parts = [`${algorithm} of ${formatDate(created)}`];
  if (revoked !== undefined) parts.push(`REVOKED on ${formatDate(revoked.at)}: ${revoked.reason}`);
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
