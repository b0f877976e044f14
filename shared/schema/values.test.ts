import assert from "node:assert/strict";
import { test } from "node:test";
import type { Rule } from "./place.ts";
import * as values from "./values.ts";

const long = "a".repeat(100_000);

const rules: { name: string; rule: Rule; keep: string[]; break: [string, RegExp][] }[] = [
  {
    name: "acName",
    rule: values.acName,
    keep: ["a", "0", "database", "product-database-release", "volume--var-tmp", "8080-tcp", long],
    break: [
      ...["", "-a", "a-", "-", "A", "influxData", "a.b", "a/b", "a_b", "a b", "é", "a\n", "a\0", `${long}-`].map(
        (text): [string, RegExp] => [text, /^must be lower-case letters, digits and inner hyphens$/],
      ),
    ],
  },
  {
    name: "acIdentifier",
    rule: values.acIdentifier,
    keep: [
      "database",
      "example.com/database",
      "example.com/~user/app_v1",
      "sub-domain.example.com/org/product/release",
      "os/linux/capabilities-retain-set",
      "example.com/foo__bar",
      "a..b",
      "a~b",
      `${"a".repeat(511)}/${"a".repeat(512)}`,
    ],
    break: [
      ...["", "/a", "a/", ".", "..", "Example.com/a", "a b", "a:b", "a@b", "a\n", "é", `${long.slice(0, 1000)}_`].map(
        (text): [string, RegExp] => [text, /^must be lower-case letters, digits and inner "-", "\.", "_", "~", "\/"$/],
      ),
      ...["a//b", "a/./b", "a/../b", "a/b/../../c", "example.com/../../etc/passwd"].map((text): [string, RegExp] => [
        text,
        /^must not have empty, "\." or "\.\." path components$/,
      ]),
      [`${"a/".repeat(512)}a`, /^must have at most 1024 characters$/],
    ],
  },
  {
    name: "imageID",
    rule: values.imageID,
    keep: [`sha512-${"0".repeat(128)}`, `sha512-${"abcdef0123456789".repeat(2)}`],
    break: [
      "",
      "sha512-",
      "sha512-...",
      `sha512-${"0".repeat(31)}`,
      `sha512-${"0".repeat(129)}`,
      `sha512-${"A".repeat(128)}`,
      `sha512-${"g".repeat(128)}`,
      `sha256-${"0".repeat(64)}`,
      `sha512-../${"0".repeat(64)}`,
      `sha512-${"0".repeat(128)}\n`,
      "0".repeat(128),
    ].map((text) => [text, /^must be "sha512-" and 32 to 128 lower-case hex digits$/]),
  },
  {
    name: "dependencyID",
    rule: values.dependencyID,
    keep: [`sha512-${"0".repeat(32)}`, `sha256-${"0".repeat(64)}`, "sha256-06c733b1838136838e6d2d3e8fa5aea4c7905e92"],
    break: ["sha256-...", `sha256-${"0".repeat(65)}`, `sha1-${"0".repeat(40)}`, `sha256-${"A".repeat(64)}`].map(
      (text) => [text, /^must be "sha512-" and 32 to 128, or "sha256-" and 32 to 64, lower-case hex digits$/],
    ),
  },
  {
    name: "acVersion",
    rule: values.acVersion,
    keep: ["0.1.0", "0.8.11", "1.0.0", "0.0.1", "1.2.3-pre.1", "1.2.3+build.5", "1.2.3-a-b.c+d", "01.2.3", "0.0.0-dev"],
    break: [
      ...[
        "",
        "0.0.0",
        "1",
        "1.2",
        "1.2.3.4",
        "v1.2.3",
        "1.2.x",
        "1.2.3-",
        "1.2.3-a..b",
        "1.2.3 ",
        `${"9".repeat(99)}.0.0`,
      ].map((text): [string, RegExp] => [text, /^must be a semantic version like "0\.8\.11"$/]),
      ...["2.0.0", "99.0.0", "02.1.0-dev"].map((text): [string, RegExp] => [text, /^must be 0\.x or 1\.x, /]),
    ],
  },
  {
    name: "timestamp",
    rule: values.timestamp,
    keep: [
      "2014-10-27T19:32:27Z",
      "2014-10-27T19:32:27.67021798Z",
      "2015-05-18T13:49:28.351729952-04:00",
      "2016-02-29T00:00:00Z",
      "2000-02-29T23:59:59+23:59",
      "0001-01-01T00:00:00Z",
    ],
    break: [
      "",
      "2014-10-27",
      "2014-10-27 19:32:27Z",
      "2014-10-27T19:32:27",
      "2014-10-27T19:32Z",
      "2014-13-01T00:00:00Z",
      "2014-00-01T00:00:00Z",
      "2014-01-00T00:00:00Z",
      "2014-02-29T00:00:00Z",
      "1900-02-29T00:00:00Z",
      "2014-04-31T00:00:00Z",
      "2014-10-27T24:00:00Z",
      "2014-10-27T19:60:00Z",
      "2014-10-27T19:32:60Z",
      "2014-10-27T19:32:27.Z",
      "2014-10-27T19:32:27+0100",
      "2014-10-27T19:32:27Z\n",
    ].map((text) => [text, /^must be an RFC 3339 time like "2014-10-27T19:32:27Z"$/]),
  },
  {
    name: "httpUrl",
    rule: values.httpUrl,
    keep: [
      "http://example.com",
      "https://example.com/a?b#c",
      "HTTPS://example.com",
      "https://example.com/é",
      "http://a/b c",
    ],
    break: [
      "",
      "example.com",
      "ftp://example.com",
      "javascript:alert(1)",
      "file:///etc/passwd",
      " http://a",
      "http://a\nb",
    ].map((text) => [text, /^must be an http or https URL$/]),
  },
  {
    name: "absolutePath",
    rule: values.absolutePath,
    keep: ["/", "/var/lib/db", "/a b/é", "/a/../b", "//a//", `/${"a".repeat(4094)}`],
    break: [
      ["", /^must be absolute$/],
      ["tmp", /^must be absolute$/],
      ["./tmp", /^must be absolute$/],
      ["\n/tmp", /^must be absolute$/],
      ["/tmp\nExecStart=/bin/sh", /^must not contain control characters$/],
      ["/tmp\0", /^must not contain control characters$/],
      ["/\u007f", /^must not contain control characters$/],
      [`/${"a".repeat(4095)}`, /^must not be longer than 4095 bytes$/],
      [`/${"é".repeat(2048)}`, /^must not be longer than 4095 bytes$/],
    ],
  },
  {
    name: "pathInApp",
    rule: values.pathInApp,
    keep: ["/", "/var/lib/db", "/etc/systemd/system/", "/a/...b/..c", "/a/./b"],
    break: [
      ["tmp", /^must be absolute$/],
      ["/..", /^must not have "\.\." components$/],
      ["/a/../b", /^must not have "\.\." components$/],
      ["/a/..", /^must not have "\.\." components$/],
    ],
  },
  {
    name: "account",
    rule: values.account,
    keep: ["0", "root", "4294967294", "www-data", "/usr/bin/ping", "user name", "ünal"],
    break: [
      ["", /^must not be empty$/],
      ["root\n", /^must not contain control characters$/],
      ["a\tb", /^must not contain control characters$/],
      ["/bin/a\nb", /^must not contain control characters$/],
    ],
  },
  {
    name: "argument",
    rule: values.argument,
    keep: ["", "a b", "line\nline\ttab", "\u001b[31m", "é😀", "a".repeat(131_071)],
    break: [
      ["a\0b", /^must not contain U\+0000$/],
      ["a".repeat(131_072), /^must not be longer than 131071 bytes$/],
      ["é".repeat(65_536), /^must not be longer than 131071 bytes$/],
    ],
  },
  {
    name: "variableName",
    rule: values.variableName,
    keep: ["A", "_", "REDUCE_WORKER_DEBUG", "a.b-c_1"],
    break: ["", "1A", "A=B", "A B", "-A", ".A", "É", "A\n", "A\0"].map((text) => [
      text,
      /^must be a letter or "_", then letters, digits, "_", "\." and "-"$/,
    ]),
  },
  {
    name: "octalMode",
    rule: values.octalMode,
    keep: ["0", "755", "0755", "1777", "07777", "000755"],
    break: ["", "8", "rwx", "0o755", "10000", "-755", "755 ", "0x1ff"].map((text) => [
      text,
      /^must be an octal mode from "0" to "7777"$/,
    ]),
  },
  {
    name: "ipv4",
    rule: values.ipv4,
    keep: ["0.0.0.0", "203.0.113.23", "255.255.255.255"],
    break: ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "::1", "a.b.c.d", "1.2.3.4 "].map((text) => [
      text,
      /^must be an IPv4 address$/,
    ]),
  },
  {
    name: "oneOf",
    rule: values.oneOf("host", "empty"),
    keep: ["host", "empty"],
    break: ["", "Host", "hostempty", "toString"].map((text) => [text, /^must be "host" or "empty"$/]),
  },
];

for (const { name, rule, keep, break: breaking } of rules) {
  for (const text of keep) {
    test(`${name} keeps ${JSON.stringify(text.slice(0, 60))}`, () => assert.equal(rule(text), undefined));
  }
  for (const [text, message] of breaking) {
    test(`${name} breaks ${JSON.stringify(text.slice(0, 60))}`, () => assert.match(rule(text) ?? "kept", message));
  }
}

const versions: [string, string, boolean][] = [
  ["0.5.9", "0.6.0", true],
  ["0.6.0", "0.6.0", false],
  ["0.6.0-pre", "0.6.0", false],
  ["0.10.0", "0.6.0", false],
  ["1.0.0", "0.6.0", false],
  ["0.5.99+b", "0.6.0", true],
  ["garbage", "0.6.0", false],
  ["", "0.6.0", false],
];
for (const [version, other, older] of versions) {
  test(`olderThan("${version}", "${other}")`, () => assert.equal(values.olderThan(version, other), older));
}

const names: [string, string][] = [
  ["reduce-worker", "reduce-worker"],
  ["Foo_Bar.1", "foo-bar-1"],
  ["--a--", "a"],
  ["example.com/etcd", "example-com-etcd"],
  ["é", ""],
  ["", ""],
];
for (const [text, name] of names) test(`toACName("${text}")`, () => assert.equal(values.toACName(text), name));

test("parseMode", () => {
  assert.equal(values.parseMode("0755"), 0o755);
  assert.equal(values.parseMode("1777"), 0o1777);
});
