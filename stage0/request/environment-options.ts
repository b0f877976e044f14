/** `--set-env`, `--environment` and the lines of a `--set-env-file`. Pure. */

import { usageError } from "../../shared/errors.ts";
import { quote } from "../../shared/schema/manifest-error.ts";
import type { NameValue } from "../../shared/schema/types.ts";
import { argument, variableName } from "../../shared/schema/values.ts";
import { parseUniquePairs } from "../cli/values.ts";

export function parseVariables(option: string, texts: readonly string[]): NameValue[] {
  return parseUniquePairs(option, texts, variableName);
}

/** Parses a `--set-env-file`: lines NAME=VALUE. Empty lines, and those that begin with "#" or ";", are skipped. */
export function parseEnvironmentFile(path: string, text: string): NameValue[] {
  const variables: NameValue[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "" || /^[#;]/.test(line)) continue;
    const equals = line.indexOf("=");
    const name = line.slice(0, Math.max(equals, 0));
    const broken = equals < 0 ? "must be NAME=VALUE" : (variableName(name) ?? argument(line));
    if (broken !== undefined) throw usageError(`${path}:${i + 1}: ${broken}, got ${quote(line)}`);
    variables.push({ name, value: line.slice(equals + 1) });
  }
  return variables;
}
