import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type EscapedValue,
  type ExecPrefix,
  environment,
  execLine,
  path,
  specifierEscape,
  UnitError,
  type UnitRule,
  unitNames,
  words,
  writeUnit,
} from "./index.ts";

const commands: { name: string; argv: string[]; prefixes?: ExecPrefix[]; text: string }[] = [
  {
    name: "plain words need no quotes",
    argv: ["/bin/a", "-x", "k=v", "a,b:c@d+e.f"],
    text: "/bin/a -x k=v a,b:c@d+e.f",
  },
  // systemd.service(5): a program without a slash is looked up.
  { name: "a program by name", argv: ["true"], text: "true" },
  // systemd.syntax(7): quotes keep white space.
  { name: "white space", argv: ["/bin/a", " b  c "], text: '/bin/a " b  c "' },
  { name: "an empty word", argv: ["/bin/a", "", "b"], text: '/bin/a "" b' },
  // systemd.syntax(7), C-style escapes: a newline is written so, and never ends the line.
  {
    name: "control characters",
    argv: ["/bin/a", "\n\r\t\u0007\b\f\v\u0001\u001b\u007f\u0085"],
    text: '/bin/a "\\n\\r\\t\\a\\b\\f\\v\\x01\\x1b\\x7f\\xc2\\x85"',
  },
  { name: "quotes and backslashes", argv: ["/bin/a", `"'\\`, "\\n"], text: `/bin/a "\\"'\\\\" "\\\\n"` },
  { name: "a last word that ends with a backslash", argv: ["/bin/a", "b\\"], text: '/bin/a "b\\\\"' },
  // systemd.unit(5): %% is a percent sign.
  { name: "specifiers", argv: ["/bin/%n", "100%", "%n%%"], text: '"/bin/%%n" "100%%" "%%n%%%%"' },
  // systemd.service(5): $$ is a dollar sign, wherever a variable could stand.
  { name: "variables", argv: ["/bin/a", "$A", `\${A}`, "a$", "$$"], text: `/bin/a "$$A" "$\${A}" "a$$" "$$$$"` },
  // systemd.service(5): with ":" there are no variables, so $$ would stay two.
  {
    name: "prefix : takes dollar signs literally",
    argv: ["/bin/$a", "$A", "%A"],
    prefixes: [":"],
    text: '":/bin/$a" "$A" "%%A"',
  },
  // systemd.service(5): a lone semicolon separates commands.
  { name: "lone semicolons", argv: ["/bin/a", ";", "\\;", "a;"], text: '/bin/a ";" "\\\\;" "a;"' },
  // systemd.syntax(7): # and ; begin a comment only at the beginning of a line.
  { name: "comment characters", argv: ["/bin/a", "#", "; b"], text: '/bin/a "#" "; b"' },
  { name: "prefixes", argv: ["/bin/a", "b"], prefixes: ["-", "+"], text: "-+/bin/a b" },
  // Prefixes are looked for after unquoting.
  { name: "prefixes of a quoted program", argv: ["/bin/a b"], prefixes: ["-"], text: '"-/bin/a b"' },
  { name: "prefix @ gives argv[0]", argv: ["/bin/$a", "-$a", "b"], prefixes: ["@"], text: '"@/bin/$a" "-$$a" b' },
  {
    name: "other scripts",
    argv: ["/bin/é", "日本", "😀", "\u2028\u00a0"],
    text: '"/bin/é" "日本" "😀" "\u2028\u00a0"',
  },
  // systemd drops a line with a noncharacter, but takes its bytes as escapes.
  { name: "noncharacters", argv: ["/bin/a", "\ufffe\ufdd0"], text: '/bin/a "\\xef\\xbf\\xbe\\xef\\xb7\\x90"' },
  {
    name: "what looks like an option",
    argv: ["/bin/a", "\nUser=root\n[Unit]"],
    text: '/bin/a "\\nUser=root\\n[Unit]"',
  },
];

for (const c of commands)
  test(`execLine: ${c.name}`, () => {
    const value = execLine(c.argv, c.prefixes === undefined ? {} : { prefixes: c.prefixes });
    assert.equal(writeUnit([["Service", "ExecStart", value]]), `[Service]\nExecStart=${c.text}\n`);
  });

const values: { name: string; value: EscapedValue | string; text: string }[] = [
  // Each option that takes one path takes the rest of the line: no quotes.
  { name: "path with spaces, quotes, dollars", value: path(`/a b/"c'/$d`), text: `/a b/"c'/$d` },
  { name: "path with specifiers", value: path("/%n/%"), text: "/%%n/%%" },
  { name: "words", value: words(["/a", "b c", "", "%n", "$A"]), text: '/a "b c" "" "%%n" "$A"' },
  { name: "words with one kind of quotes", value: words([`a"b`, "a'b"]), text: `'a"b' "a'b"` },
  { name: "no words", value: words([]), text: "" },
  {
    name: "environment",
    value: environment([
      ["A", "1"],
      ["_B2", "a b"],
      ["C", ""],
      ["D", `$A %n "q" 'q' \\n`],
      ["E", "line 1\nExecStart=/bin/evil"],
    ]),
    text: `A=1 "_B2=a b" C= "D=$A %%n \\"q\\" 'q' \\\\n" "E=line 1\\nExecStart=/bin/evil"`,
  },
  {
    name: "unitNames",
    value: unitNames(["a.service", "b@x.target", "c\\x2dd.mount"]),
    text: "a.service b@x.target c\\x2dd.mount",
  },
  { name: "specifierEscape", value: specifierEscape("100% of %n"), text: "100%% of %%n" },
];

for (const c of values)
  test(c.name, () => assert.equal(writeUnit([["Service", "X-Value", c.value]]), `[Service]\nX-Value=${c.text}\n`));

const refused: { name: string; value: EscapedValue; rule: UnitRule; detail: string }[] = [
  { name: "no program", value: execLine([]), rule: "program", detail: "the command line is empty" },
  { name: "an empty program", value: execLine(["", "a"]), rule: "program", detail: "the program is an empty word" },
  // systemd: "Executable name contains special characters".
  {
    name: "a program with a quote",
    value: execLine(["/bin/it's"]),
    rule: "program",
    detail: "the program contains a control character, a quote or a backslash",
  },
  {
    name: "a program with a newline",
    value: execLine(["/bin/a\nUser=root"]),
    rule: "program",
    detail: "the program contains a control character, a quote or a backslash",
  },
  {
    name: "a directory for a program",
    value: execLine(["/bin/"]),
    rule: "program",
    detail: "the program ends with a slash: a directory",
  },
  { name: "a relative program", value: execLine(["bin/a"]), rule: "program", detail: "the program is a relative path" },
  { name: "a dot for a program", value: execLine([".."]), rule: "program", detail: "the program is not a file name" },
  // A prefix can't be escaped: it is looked for after unquoting. `|` is a prefix since systemd 256.
  ...["-a", "@a", ":a", "+a", "!a", "|a"].map((program) => ({
    name: `the program ${program}`,
    value: execLine([program]),
    rule: "program" as const,
    detail: "the program begins with a character that is a prefix",
  })),
  {
    name: "a program with a dollar sign",
    value: execLine(["/bin/$a"]),
    rule: "program",
    detail: 'the program contains "$": use prefix ":", or "@" with an argv[0]',
  },
  {
    name: "a path longer than PATH_MAX for a program",
    value: execLine(["/a".repeat(2048)]),
    rule: "program",
    detail: "the program is longer than 4095 bytes",
  },
  {
    name: "a name longer than NAME_MAX in a program",
    value: execLine([`/${"é".repeat(128)}`]),
    rule: "program",
    detail: "the program has a name longer than 255 bytes",
  },
  {
    name: "prefix @ without argv[0]",
    value: execLine(["/bin/a"], { prefixes: ["@"] }),
    rule: "prefix",
    detail: "prefix @ needs a second word, which becomes argv[0]",
  },
  {
    name: "a prefix twice",
    value: execLine(["/bin/a"], { prefixes: ["-", "-"] }),
    rule: "prefix",
    detail: "a prefix is given twice",
  },
  {
    name: "prefixes that exclude each other",
    value: execLine(["/bin/a"], { prefixes: ["+", "!!"] }),
    rule: "prefix",
    detail: "only one of the prefixes + ! !! is possible",
  },
  {
    name: "a word with NUL",
    value: execLine(["/bin/a", "b\0c"]),
    rule: "nul",
    detail: "word 2 contains NUL, which no command or variable can",
  },
  {
    name: "a word with half a surrogate pair",
    value: execLine(["/bin/a", "b", "\udc00"]),
    rule: "surrogate",
    detail: "word 3 has half of a surrogate pair: not a text",
  },
  {
    name: "a list word with a newline",
    value: words(["a", "b\nc"]),
    rule: "control-character",
    detail: "word 2 contains the control character U+000A",
  },
  {
    name: "a list word with a backslash",
    value: words(["a\\b"]),
    rule: "unquotable",
    detail: "word 1 contains a backslash, which not all lists take",
  },
  {
    name: "a list word with both quotes",
    value: words([`"'`]),
    rule: "unquotable",
    detail: "word 1 contains both kinds of quotes",
  },
  ...["", "1A", "A B", "A-B", "A=B", "É", "A\n"].map((name) => ({
    name: `the variable ${JSON.stringify(name)}`,
    value: environment([[name, "x"]]),
    rule: "environment-name" as const,
    detail: "variable 1 has a name systemd does not take",
  })),
  {
    name: "a variable with NUL",
    value: environment([["A", "\0"]]),
    rule: "nul",
    detail: "variable A contains NUL, which no command or variable can",
  },
  {
    // systemd checks a variable's value as UTF-8 after unescaping.
    name: "a variable with a noncharacter",
    value: environment([["A", "\uffff"]]),
    rule: "noncharacter",
    detail: "variable A contains a Unicode noncharacter, which systemd takes for bad UTF-8",
  },
  { name: "a relative path", value: path("a"), rule: "path", detail: "the path is not absolute" },
  {
    name: "a path with a newline",
    value: path("/a\nUser=root"),
    rule: "control-character",
    detail: "the value contains the control character U+000A",
  },
  {
    name: "a path that ends with a space",
    value: path("/a "),
    rule: "surrounding-space",
    detail: "the value begins or ends with white space, which systemd strips",
  },
  {
    name: "a path that ends with a backslash",
    value: path("/a\\"),
    rule: "continuation",
    detail: "the value ends with a backslash, which continues on the next line",
  },
  {
    name: "a path that is too long",
    value: path("/a".repeat(2048)),
    rule: "path",
    detail: "the path is longer than 4095 bytes",
  },
  {
    name: "what is no unit name",
    value: unitNames(["a.service", "b.service c.service"]),
    rule: "unit-name",
    detail: '"b.service c.service" is not a unit name',
  },
  {
    name: "a command longer than a line",
    value: execLine(["/bin/a", "\u0001".repeat(300_000)]),
    rule: "line-length",
    detail: "the line would be longer than 1048576 bytes, systemd's limit",
  },
];

for (const c of refused)
  test(`refused: ${c.name}`, () => {
    assert.throws(
      () => writeUnit([["Service", "X-Value", c.value]]),
      (error) => {
        assert.ok(error instanceof UnitError);
        assert.deepEqual(
          { rule: error.rule, message: error.message },
          { rule: c.rule, message: `[Service] X-Value=: ${c.detail}` },
        );
        return true;
      },
    );
  });
