import assert from "node:assert/strict";
import { test } from "node:test";
import { UnitError, type UnitOption, type UnitRule, writeUnit } from "./index.ts";

const written: { name: string; options: UnitOption[]; text: string }[] = [
  { name: "no options: an empty file", options: [], text: "" },
  {
    // Sections are grouped, in the order in which they are first named.
    name: "sections and options keep their order",
    options: [
      ["Unit", "Description", "A server"],
      ["Service", "Type", "oneshot"],
      ["Install", "WantedBy", "multi-user.target"],
      ["Service", "ExecStart", "/bin/true"],
      ["Unit", "After", "b.service"],
    ],
    text: `[Unit]
Description=A server
After=b.service

[Service]
Type=oneshot
ExecStart=/bin/true

[Install]
WantedBy=multi-user.target
`,
  },
  {
    // systemd.syntax(7): an option may be given again, an empty value resets it.
    name: "repeated and empty options",
    options: [
      ["Service", "ExecStart", ""],
      ["Service", "ExecStart", "/bin/a"],
      ["Service", "ExecStart", "/bin/b"],
    ],
    text: "[Service]\nExecStart=\nExecStart=/bin/a\nExecStart=/bin/b\n",
  },
  {
    // A string is systemd's own syntax: nothing in it is escaped.
    name: "a string value stands as it is",
    options: [["Service", "ExecStart", '/bin/sh -c "echo $$ %n"; # = [x] \\x20 é']],
    text: '[Service]\nExecStart=/bin/sh -c "echo $$ %n"; # = [x] \\x20 é\n',
  },
  {
    // systemd.syntax(7): a line is continued by a backslash; a pair of them is an escaped one.
    name: "a value may end with an even number of backslashes",
    options: [["Unit", "Description", "a\\\\"]],
    text: "[Unit]\nDescription=a\\\\\n",
  },
  {
    // Extensions that systemd ignores.
    name: "X- sections and options",
    options: [["X-Rkt", "X-Note", "a\tb"]],
    text: "[X-Rkt]\nX-Note=a\tb\n",
  },
];

for (const c of written) test(`writeUnit: ${c.name}`, () => assert.equal(writeUnit(c.options), c.text));

const refused: { name: string; option: UnitOption; rule: UnitRule; message: string }[] = [
  {
    name: "a second line",
    option: ["Service", "User", "a\nExecStart=/bin/evil"],
    rule: "control-character",
    message: "[Service] User=: the value contains the control character U+000A",
  },
  {
    // systemd ends a line at CR too.
    name: "a second line after a carriage return",
    option: ["Service", "User", "a\rExecStart=/bin/evil"],
    rule: "control-character",
    message: "[Service] User=: the value contains the control character U+000D",
  },
  {
    // … and at NUL.
    name: "a second line after NUL",
    option: ["Service", "User", "a\0ExecStart=/bin/evil"],
    rule: "control-character",
    message: "[Service] User=: the value contains the control character U+0000",
  },
  {
    name: "an escape sequence of a terminal",
    option: ["Unit", "Description", "\u009b31m"],
    rule: "control-character",
    message: "[Unit] Description=: the value contains the control character U+009B",
  },
  {
    name: "a continuation",
    option: ["Service", "User", "a\\"],
    rule: "continuation",
    message: "[Service] User=: the value ends with a backslash, which continues on the next line",
  },
  {
    name: "a continuation after an escaped backslash",
    option: ["Service", "User", "a\\\\\\"],
    rule: "continuation",
    message: "[Service] User=: the value ends with a backslash, which continues on the next line",
  },
  {
    name: "space before",
    option: ["Unit", "Description", " a"],
    rule: "surrounding-space",
    message: "[Unit] Description=: the value begins or ends with white space, which systemd strips",
  },
  {
    name: "a tab after",
    option: ["Unit", "Description", "a\t"],
    rule: "surrounding-space",
    message: "[Unit] Description=: the value begins or ends with white space, which systemd strips",
  },
  {
    name: "half a surrogate pair",
    option: ["Unit", "Description", "a\ud83d"],
    rule: "surrogate",
    message: "[Unit] Description=: the value has half of a surrogate pair: not a text",
  },
  {
    // systemd's utf8_is_valid() refuses noncharacters and drops the line.
    name: "a noncharacter",
    option: ["Unit", "Description", "a\u{1ffff}"],
    rule: "noncharacter",
    message: "[Unit] Description=: the value contains a Unicode noncharacter, which systemd takes for bad UTF-8",
  },
  {
    // LONG_LINE_MAX is 1 MiB with the newline; `Description=` is 12 of them.
    name: "a line longer than systemd reads",
    option: ["Unit", "Description", "a".repeat(1024 * 1024 - 12)],
    rule: "line-length",
    message: "[Unit] Description=: the line would be longer than 1048576 bytes, systemd's limit",
  },
  {
    // … in bytes.
    name: "a line longer than systemd reads, in UTF-8",
    option: ["Unit", "Description", "é".repeat(512 * 1024 - 6)],
    rule: "line-length",
    message: "[Unit] Description=: the line would be longer than 1048576 bytes, systemd's limit",
  },
];

for (const c of refused)
  test(`writeUnit refuses ${c.name}`, () => {
    const [section, option] = c.option;
    assert.throws(
      () => writeUnit([["Unit", "Description", "before"], c.option]),
      (error) => {
        assert.ok(error instanceof UnitError);
        assert.deepEqual(
          { rule: error.rule, message: error.message, section: error.section, option: error.option },
          { rule: c.rule, message: c.message, section, option },
        );
        return true;
      },
    );
  });

test("writeUnit: the longest line", () => {
  const value = "a".repeat(1024 * 1024 - 13);
  assert.equal(writeUnit([["Unit", "Description", value]]), `[Unit]\nDescription=${value}\n`);
});

// Names are no place for hostile text: letters, digits and dashes.
for (const name of ["", " Unit", "Unit]", "Unit\n[Service", "[Unit", "#Unit", "Ünit", "Unit=", "-Unit", "U\0"]) {
  test(`writeUnit refuses the name ${JSON.stringify(name)}`, () => {
    assert.throws(() => writeUnit([[name, "After", "a.service"]]), { name: "UnitError", rule: "section-name" });
    assert.throws(() => writeUnit([["Unit", name, "a.service"]]), { name: "UnitError", rule: "option-name" });
  });
}

test("a name in a message is short and printable", () => {
  assert.throws(() => writeUnit([["Unit", "a\n\u001b[31m\u009b".padEnd(1000, "x"), ""]]), {
    message: `[Unit]: option name "a\\n\\u001b[31m?${"x".repeat(72)}…" is not valid`,
  });
});
