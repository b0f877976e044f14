import assert from "node:assert/strict";
import { test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import { readOptions } from "./options.ts";
import { type OptionTable, scanWords } from "./words.ts";

const table = {
  volume: { type: "string", array: true, description: "" },
  exec: { type: "string", description: "" },
  net: { type: "string", array: true, bare: "default", exclusive: "networks", description: "" },
  "private-net": { type: "string", array: true, bare: "default", exclusive: "networks", description: "" },
  rm: { type: "boolean", description: "" },
  list: { type: "boolean", exclusive: "action", description: "" },
  remove: { type: "boolean", exclusive: "action", description: "" },
  key: { type: "string", exclusive: "action", description: "" },
} as const satisfies OptionTable;

const absent = {
  ...{ volume: [], exec: undefined, net: [], "private-net": [] },
  ...{ rm: false, list: false, remove: false, key: undefined },
};
const read = (words: readonly string[]) => readOptions(scanWords(words, table).options, table);

const accepted: { name: string; words: string[]; values: Partial<Record<keyof typeof table, unknown>> }[] = [
  { name: "nothing", words: [], values: {} },
  {
    name: "a list keeps its order, and empty values",
    words: ["--volume=b", "--volume=", "--volume=a"],
    values: { volume: ["b", "", "a"] },
  },
  { name: "of a flag the last counts", words: ["--rm", "--rm=false"], values: { rm: false } },
  { name: "an empty text is a text", words: ["--exec="], values: { exec: "" } },
  {
    name: "values stay as they are",
    words: [
      "--volume=007",
      "--volume='x'",
      '--volume="x"',
      "--volume=true",
      "--volume=1e3",
      "--volume=--rm",
      "--volume=a\n=b",
    ],
    values: { volume: ["007", "'x'", '"x"', "true", "1e3", "--rm", "a\n=b"] },
  },
  { name: "one of each group", words: ["--net", "--list"], values: { net: ["default"], list: true } },
  { name: "one of a group several times", words: ["--net=a", "--net=b"], values: { net: ["a", "b"] } },
];

for (const { name, words, values } of accepted)
  test(`options: ${name}`, () => assert.deepEqual(read(words), { ...absent, ...values }));

const refused: { name: string; words: string[]; message: string }[] = [
  { name: "a text twice", words: ["--exec=a", "--exec=a"], message: "--exec is given twice" },
  {
    name: "two of a group",
    words: ["--private-net", "--net"],
    message: "arguments net and private-net are mutually exclusive",
  },
  {
    name: "two of a group, of different kinds",
    words: ["--key=", "--remove"],
    message: "arguments remove and key are mutually exclusive",
  },
  {
    name: "a flag of a group that is false",
    words: ["--list=false", "--remove"],
    message: "arguments list and remove are mutually exclusive",
  },
];

for (const { name, words, message } of refused)
  test(`options refused: ${name}`, () => {
    assert.throws(
      () => read(words),
      (error: unknown) => {
        assert.ok(error instanceof RktError);
        assert.deepEqual([error.message, error.exitCode], [message, 2]);
        return true;
      },
    );
  });

test("options of another table are passed over", () => {
  assert.deepEqual(
    readOptions(
      [
        { name: "constructor", value: "x" },
        { name: "rm", value: "true" },
      ],
      { rm: table.rm },
    ),
    { rm: true },
  );
});
