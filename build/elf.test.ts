import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parseElf } from "./elf.ts";

/** The same facts by binutils. */
function readelf(file: string) {
  const text = execFileSync("readelf", ["--wide", "--dynamic", "--program-headers", file], {
    env: { ...process.env, LC_ALL: "C" },
    stdio: ["ignore", "pipe", "ignore"],
  }).toString();
  const all = (pattern: RegExp) => [...text.matchAll(pattern)].map((match) => match[1] ?? "");
  return {
    interpreter: all(/Requesting program interpreter: (.*)\]/g)[0],
    needed: all(/\(NEEDED\).*\[(.*)\]/g),
    runpath: all(/\((?:RUNPATH|RPATH)\).*\[(.*)\]/g).flatMap((path) => path.split(":")),
  };
}

for (const file of [process.execPath, "/bin/ls", "/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/readelf"])
  test(`${file.slice(file.lastIndexOf("/") + 1)}: as readelf sees it`, () => {
    assert.deepEqual(parseElf(readFileSync(file)), readelf(file));
  });

const others: { name: string; bytes: Buffer }[] = [
  { name: "nothing", bytes: Buffer.alloc(0) },
  { name: "a script", bytes: Buffer.from(`#!/bin/sh\n${" ".repeat(100)}`) },
  { name: "a cut header", bytes: Buffer.from("7f454c460201", "hex") },
  // e_machine 183 is AArch64.
  { name: "another architecture", bytes: Buffer.from(`7f454c460201${"00".repeat(12)}b700${"00".repeat(44)}`, "hex") },
];

for (const c of others)
  test(`${c.name} is no program for this machine`, () => assert.equal(parseElf(c.bytes), undefined));
