import { usageError } from "../../shared/errors.ts";

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Parses a duration in Go's form (`90s`, `1h30m`, or plain `0`) to milliseconds. */
export function duration(option: string, text: string): number {
  if (text === "0") return 0;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join("") !== text)
    throw usageError(`--${option}: ${JSON.stringify(text)} is no duration`, "write it as 30s, 10m or 1h30m");
  return parts.reduce((sum, [, number, unit]) => sum + Number(number) * (UNITS[unit ?? ""] ?? 0), 0);
}
