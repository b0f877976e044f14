/** The command lines in the documents are read by the parser and the table that rkt has: what they name exists. */

import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { commandTable } from "../command-table.ts";
import { findCommand } from "./find-command.ts";
import { globalOptions } from "./globals.ts";
import { isKnown, isOption, readOption, scanWords } from "./words.ts";

const root = join(import.meta.dirname, "../..");

// CHANGELOG.md and the guide from rkt 1.30 name what other versions have.
const OTHERS = ["docs/use/from-rkt-1.30.md"];
const pages = globSync(["README.md", "docs/**/*.md", "examples/**/*.md"], { cwd: root }).filter((page) => !OTHERS.includes(page));

/** The words behind `rkt` in a line of a shell or a unit; undefined when it runs none. */
function rktWords(line: string): string[] | undefined {
  const words: string[] = line.match(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g) ?? [];
  const begins = (i: number) => i === 0 || /^(?:\$|sudo|setsid|do|&&|\||--\S+)$/.test(words[i - 1] ?? "");
  const rkt = words.findIndex((word, i) => /^(?:Exec\w+=-?)?(?:[\w./]*\/)?rkt$/.test(word) && begins(i));
  if (rkt < 0) return undefined;
  const rest = words.slice(rkt + 1);
  const end = rest.findIndex((word) => /^(?:[|;&#]|\d?[<>])/.test(word) || word.endsWith(";"));
  return end < 0 ? rest : rest.slice(0, end);
}

/** Lines that are typed: in a block with prompts those behind one, else all; and inline code. */
function typedLines(text: string): string[] {
  const joined = text.replace(/ *\\\n\s*/g, " ");
  const blocks = [...joined.matchAll(/^```[^\n]*\n(.*?)^```/gms)].map(([, block = ""]) => block);
  const indented = joined.match(/^(?: {4}.*\n)+/gm) ?? [];
  const typed = [...blocks, ...indented].flatMap((block) => {
    const lines = block.split("\n").map((line) => line.trim());
    const prompted = lines.filter((line) => line.startsWith("$ "));
    return prompted.length > 0 ? prompted : lines.filter((line) => /^(?:sudo |Exec|rkt )/.test(line));
  });
  const inline = [...joined.replace(/^```.*?^```/gms, "").matchAll(/`((?:[\w/]+=-?)?(?:[\w./]*\/)?rkt [^`]+)`/g)].map(([, code = ""]) => code);
  return [...typed, ...inline];
}

/** Throws for a command, option or value that rkt does not have. */
async function readCommandLine(given: readonly string[]): Promise<void> {
  const words = [...given];
  while (words.length > 0 && isOption(words[0] ?? "") && isKnown(words[0] ?? "", globalOptions)) words.splice(0, readOption(words, 0, globalOptions).next);
  // Of a form, as `rkt COMMAND --help`, there is nothing to look up, and of a group's name.
  if (words.length === 0 || /^[A-Z]/.test(words[0] ?? "") || Object.hasOwn(commandTable.groups, words.join(" ")) || words[1] === "COMMAND") return;
  const entry = findCommand(words, commandTable);
  const { command } = await entry.load();
  // Prose names an option without its value.
  scanWords([...words.slice(entry.name.split(" ").length), "VALUE"], { ...globalOptions, ...command.options }, command.grammar);
}

for (const file of pages)
  test(`commands and options that ${file} names exist`, async () => {
    const wrong: string[] = [];
    for (const line of typedLines(readFileSync(join(root, file), "utf8"))) {
      const words = rktWords(line);
      if (words === undefined || words.some((word) => /[[(…]|\.\.\./.test(word))) continue;
      await readCommandLine(words).catch((error: Error) => wrong.push(`${line}: ${error.message}`));
    }
    assert.deepEqual(wrong, []);
  });

test("a wrong command or option would be found", async () => {
  const words = (line: string) => readCommandLine(rktWords(line) ?? []);
  await words("sudo dist/rkt run --net x.aci --exec=/bin/ls -- --frobnicate | grep rkt");
  await assert.rejects(words("$ sudo rkt frobnicate"), /unknown command/);
  await assert.rejects(words("ExecStart=/usr/bin/rkt run --frobnicate x"), /unknown option --frobnicate/);
  assert.deepEqual(typedLines("```console\n$ rkt a \\\n  b\nrkt c\n```\n"), ["$ rkt a b"]);
});
