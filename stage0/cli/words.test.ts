import assert from "node:assert/strict";
import { test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import { type Line, nearest, type OptionTable, parseBoolean, scanWords } from "./words.ts";

const table = {
  volume: { type: "string", array: true, description: "" },
  exec: { type: "string", description: "" },
  net: { type: "string", bare: "default", description: "" },
  format: { type: "string", choices: ["table", "json"], description: "" },
  rm: { type: "boolean", description: "" },
  secret: { type: "boolean", description: "", hidden: true },
  help: { type: "boolean", alias: "h", description: "" },
} satisfies OptionTable;

const none: Line["operands"] = [];
const accepted: { words: string[]; name: string; line: Line }[] = [
  { name: "nothing", words: [], line: { options: [], operands: none } },
  {
    name: "the seed's spelling: one dash, the value apart",
    words: ["-volume", "database:/tmp"],
    line: { options: [{ name: "volume", value: "database:/tmp" }], operands: none },
  },
  {
    name: "one dash or two, with or without the equals sign",
    words: ["-volume=a:/b", "--volume=c:/d", "--volume", "e:/f"],
    line: {
      options: [
        { name: "volume", value: "a:/b" },
        { name: "volume", value: "c:/d" },
        { name: "volume", value: "e:/f" },
      ],
      operands: none,
    },
  },
  {
    name: "a value may hold equals signs, quotes, newlines and nothing at all",
    words: ["--exec=A=\"b'\n", "--exec="],
    line: {
      options: [
        { name: "exec", value: "A=\"b'\n" },
        { name: "exec", value: "" },
      ],
      operands: none,
    },
  },
  {
    name: "a value apart may begin with a dash, as in Go",
    words: ["--exec", "--rm"],
    line: { options: [{ name: "exec", value: "--rm" }], operands: none },
  },
  {
    name: "a flag takes no word",
    words: ["--rm", "false", "--rm=false", "-rm=T"],
    line: {
      options: [{ name: "rm", value: "true" }],
      operands: [
        {
          text: "false",
          options: [
            { name: "rm", value: "false" },
            { name: "rm", value: "true" },
          ],
          arguments: undefined,
        },
      ],
    },
  },
  {
    name: "an option with a bare meaning takes a value after the equals sign only",
    words: ["--net", "host", "--net=host"],
    line: {
      options: [{ name: "net", value: "default" }],
      operands: [{ text: "host", options: [{ name: "net", value: "host" }], arguments: undefined }],
    },
  },
  {
    name: "an alias answers to its own name",
    words: ["-h"],
    line: { options: [{ name: "help", value: "true" }], operands: none },
  },
  {
    name: "a lone dash and an empty word are operands",
    words: ["-", ""],
    line: {
      options: [],
      operands: [
        { text: "-", options: [], arguments: undefined },
        { text: "", options: [], arguments: undefined },
      ],
    },
  },
  {
    name: "what follows two dashes is operands",
    words: ["a", "--", "--rm", "--", "---"],
    line: {
      options: [],
      operands: ["a", "--rm", "--", "---"].map((text) => ({ text, options: [], arguments: undefined })),
    },
  },
];

for (const { name, words, line } of accepted)
  test(`words: ${name}`, () => assert.deepEqual(scanWords(words, table), line));

const withArguments: { name: string; words: string[]; operands: Line["operands"] }[] = [
  {
    name: "options belong to the image before them",
    words: ["a", "--exec=/x", "b", "--rm"],
    operands: [
      { text: "a", options: [{ name: "exec", value: "/x" }], arguments: undefined },
      { text: "b", options: [{ name: "rm", value: "true" }], arguments: undefined },
    ],
  },
  {
    name: "two dashes begin arguments, three end them",
    words: ["a", "--", "-v", "--", "--rm", "---", "b", "--", "---", "c"],
    operands: [
      { text: "a", options: [], arguments: ["-v", "--", "--rm"] },
      { text: "b", options: [], arguments: [] },
      { text: "c", options: [], arguments: undefined },
    ],
  },
  {
    name: "after its arguments, options are still that image's",
    words: ["a", "--", "x", "---", "--rm", "b"],
    operands: [
      { text: "a", options: [{ name: "rm", value: "true" }], arguments: ["x"] },
      { text: "b", options: [], arguments: undefined },
    ],
  },
  {
    name: "three dashes may part images without arguments",
    words: ["a", "---", "b"],
    operands: [
      { text: "a", options: [], arguments: undefined },
      { text: "b", options: [], arguments: undefined },
    ],
  },
];

for (const { name, words, operands } of withArguments)
  test(`words: ${name}`, () => assert.deepEqual(scanWords(words, table, "images"), { options: [], operands }));

const commands: { name: string; words: string[]; line: Line }[] = [
  {
    name: "options before the first operand, and then a command with its own",
    words: ["--rm", "6ba7", "ls", "--rm", "-l", "--", "---"],
    line: {
      options: [{ name: "rm", value: "true" }],
      operands: [{ text: "6ba7", options: [], arguments: ["ls", "--rm", "-l", "--", "---"] }],
    },
  },
  {
    name: "two dashes before the command are not part of it",
    words: ["6ba7", "--", "ls", "--", "x"],
    line: { options: [], operands: [{ text: "6ba7", options: [], arguments: ["ls", "--", "x"] }] },
  },
  {
    name: "two dashes before the first operand",
    words: ["--rm", "--", "ls", "-l"],
    line: { options: [{ name: "rm", value: "true" }], operands: [{ text: "ls", options: [], arguments: ["-l"] }] },
  },
  {
    name: "no command",
    words: ["6ba7"],
    line: { options: [], operands: [{ text: "6ba7", options: [], arguments: [] }] },
  },
];

for (const { name, words, line } of commands)
  test(`words of a command: ${name}`, () => assert.deepEqual(scanWords(words, table, "command"), line));

const LIST = "--help lists the options";
const refused: { name: string; words: string[]; message: string; hint?: string }[] = [
  { name: "an unknown option", words: ["--bogus=secret"], message: "unknown option --bogus", hint: LIST },
  { name: "a slip", words: ["--volum", "x"], message: "unknown option --volum", hint: "did you mean --volume?" },
  { name: "a swap of letters", words: ["-exce=x"], message: "unknown option -exce", hint: "did you mean --exec?" },
  { name: "a hidden option is not suggested", words: ["--secre"], message: "unknown option --secre", hint: LIST },
  { name: "a property of objects", words: ["--constructor"], message: "unknown option --constructor", hint: LIST },
  { name: "three dashes with a name", words: ["---rm"], message: "unknown option ---rm", hint: LIST },
  { name: "dashes with a value but no name", words: ["--=x"], message: "unknown option --", hint: LIST },
  { name: "no value", words: ["--exec"], message: "--exec needs a value", hint: "--exec=VALUE" },
  { name: "no boolean", words: ["--rm=maybe"], message: '--rm is true or false, not "maybe"' },
  { name: "an empty boolean", words: ["--rm="], message: '--rm is true or false, not ""' },
  { name: "no choice", words: ["--format", "xml"], message: '--format is table or json, not "xml"' },
  {
    name: "arguments of nothing",
    words: ["--", "x"],
    message: 'there is no image before "--"',
    hint: "arguments follow their image",
  },
  {
    name: "a second list of arguments",
    words: ["a", "--", "x", "---", "--", "y"],
    message: 'a second "--" for a',
    hint: 'an image has one list of arguments; "---" ends it',
  },
];

for (const { name, words, message, hint } of refused)
  test(`words refused: ${name}`, () => {
    assert.throws(
      () => scanWords(words, table, "images"),
      (error: unknown) => {
        assert.ok(error instanceof RktError);
        assert.deepEqual([error.message, error.hint, error.exitCode], [message, hint, 2]);
        return true;
      },
    );
  });

test("booleans are strconv.ParseBool's", () => {
  for (const text of ["1", "t", "T", "true", "True", "TRUE"]) assert.equal(parseBoolean(text), true, text);
  for (const text of ["0", "f", "F", "false", "False", "FALSE"]) assert.equal(parseBoolean(text), false, text);
  for (const text of ["", "yes", "tRUE", "10", "true "]) assert.equal(parseBoolean(text), undefined, text);
});

test("nearest suggests slips, not other words", () => {
  const commands = ["run", "rm", "list", "version"];
  assert.equal(nearest("rnu", commands), "run");
  assert.equal(nearest("verison", commands), "version");
  assert.equal(nearest("lst", commands), "list");
  assert.equal(nearest("frobnicate", commands), undefined);
  assert.equal(nearest("", commands), undefined);
});
