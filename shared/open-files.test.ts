import assert from "node:assert/strict";
import { test } from "node:test";
import { openFiles, openFilesText, parseOpenFiles } from "./open-files.ts";

test("the limits of a process's open files", () => {
  const limits =
    "Limit                     Soft Limit           Hard Limit           Units     \n" +
    "Max processes             63                   64                   processes \n" +
    "Max open files            1024                 524288               files     \n";
  assert.deepEqual(openFiles(limits), { soft: 1024n, hard: 524_288n });
  assert.equal(openFiles(""), undefined);
});

test("limits as text, and back", () => {
  const limits = { soft: 20n, hard: 4096n };
  assert.deepEqual(parseOpenFiles(openFilesText(limits)), limits);
  for (const text of ["", "20\n", "20 x\n", "20 30 40\n"]) assert.equal(parseOpenFiles(text), undefined);
});
