import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Whether `actool validate`, the spec's own validator (0.8.11), accepts a manifest. Asserts that a refusal matches
 * `refusal`.
 */
export function actoolAccepts(text: string, refusal: RegExp = /(?:)/): boolean {
  const [said] = actoolRefusals([text]);
  if (said !== undefined) assert.match(said, refusal);
  return said === undefined;
}

/**
 * For each manifest the refusal of `actool validate`, or undefined if it is accepted. One process reads thousands of
 * manifests. It ends at a file that is no manifest at all; then another process goes on after that file.
 */
export function actoolRefusals(texts: readonly string[]): (string | undefined)[] {
  const directory = mkdtempSync(join(tmpdir(), "rkt-actool-"));
  try {
    const names = texts.map((text, i) => {
      writeFileSync(join(directory, `${i}.json`), text);
      return `${i}.json`;
    });
    const refusals: (string | undefined)[] = [];
    while (refusals.length < names.length) refusals.push(...validate(directory, names.slice(refusals.length)));
    return refusals;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The results for the first names, as many as one process reads; at least one. */
function validate(cwd: string, names: readonly string[]): (string | undefined)[] {
  const words = ["--debug=true", "validate", "--type=manifest", ...names];
  const { error, status, stderr } = spawnSync("actool", words, { cwd, encoding: "utf8", maxBuffer: 2 ** 28 });
  if (error !== undefined) throw error;
  const refusals: (string | undefined)[] = [];
  // A result may have several lines: it ends where the next file's begins.
  let rest = stderr;
  for (const [i, name] of names.entries()) {
    if (!rest.startsWith(`${name}: `)) break;
    const next = names[i + 1];
    const following = next === undefined ? -1 : rest.indexOf(`\n${next}: `);
    const end = following === -1 ? rest.indexOf("\npanic: ") : following;
    const verdict = end === -1 ? rest : rest.slice(0, end);
    rest = end === -1 ? "" : rest.slice(end + 1);
    refusals.push(/: valid \w+Manifest$/.test(verdict.trimEnd()) ? undefined : verdict.slice(name.length + 2));
  }
  // A crash (Go's status 2) names no file: it belongs to the first file without a result.
  if (status === 2 && rest.startsWith("panic: ")) refusals.push(rest);
  else assert.ok(refusals.length > 0, stderr);
  return refusals;
}
