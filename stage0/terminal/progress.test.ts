import assert from "node:assert/strict";
import { test } from "node:test";
import { formatBar, formatBytes, formatSeconds, openReporter, type TransferState } from "./progress.ts";

const amounts: [bytes: number, text: string][] = [
  [0, "0 B"],
  [819, "819 B"],
  [999, "999 B"],
  [1000, "1.00 kB"],
  [999_499, "999 kB"],
  [999_500, "1.00 MB"],
  [2_490_000, "2.49 MB"],
  [3_580_000, "3.58 MB"],
  [25_000_000, "25.0 MB"],
  [4_300_000_000, "4.30 GB"],
];
for (const [bytes, text] of amounts) test(`${bytes} bytes`, () => assert.equal(formatBytes(bytes), text));

const times: [seconds: number, text: string][] = [
  [0.2, "1s"],
  [59, "59s"],
  [59.5, "1m00s"],
  [187, "3m07s"],
  [8100, "2h15m"],
  [1e9, "days"],
];
for (const [seconds, text] of times) test(`${seconds} seconds`, () => assert.equal(formatSeconds(seconds), text));

const seed: TransferState = { done: 2_490_000, total: 3_580_000, rate: undefined };
const bars: { name: string; state: TransferState; width: number; want: string }[] = [
  {
    name: "the seed's",
    state: seed,
    width: 80,
    want: "Downloading aci: [===========================>            ] 2.49 MB/3.58 MB",
  },
  {
    name: "with a rate",
    state: { ...seed, rate: 500_000 },
    width: 80,
    want: "Downloading aci: [=================>       ] 2.49 MB/3.58 MB, 500 kB/s, 3s left",
  },
  { name: "nothing yet", state: { ...seed, done: 0 }, width: 44, want: "Downloading aci: [>           ] 0 B/3.58 MB" },
  {
    name: "all",
    state: { done: 819, total: 819, rate: undefined },
    width: 44,
    want: "Downloading aci: [============] 819 B/819 B",
  },
  {
    name: "an empty file",
    state: { done: 0, total: 0, rate: undefined },
    width: 44,
    want: "Downloading aci: [================] 0 B/0 B",
  },
  {
    name: "of unknown length",
    state: { done: 5000, total: undefined, rate: 1000 },
    width: 80,
    want: "Downloading aci: 5.00 kB, 1.00 kB/s",
  },
  { name: "on a narrow terminal", state: seed, width: 30, want: "Downloading aci: 2.49 MB/3.58" },
];
for (const c of bars) {
  test(`a bar ${c.name}`, () => {
    const got = formatBar("Downloading aci", c.state, c.width);
    assert.equal(got, c.want);
    assert.ok(got.length < c.width);
  });
}

/** A terminal of `columns`, as far as the reporter uses one: what is on its screen. */
function screen(columns: number) {
  let lines = [""];
  let row = 0;
  return {
    isTTY: true,
    columns,
    write(text: string) {
      for (const token of text.match(/\x1b\[\d*[AJ]|[\r\n]|[^\x1b\r\n]+/g) ?? []) {
        if (token === "\r") continue;
        if (token === "\n") lines[++row] ??= "";
        else if (token === "\x1b[J") lines = [...lines.slice(0, row), ""];
        else if (token.startsWith("\x1b")) row -= Number(token.slice(2, -1));
        else lines[row] += token;
      }
      assert.equal(row, lines.length - 1);
    },
    text: () => lines.join("\n"),
  };
}

test("on a terminal bars stay below the lines, in the order they began, and remain when they end", () => {
  let now = 0;
  const terminal = screen(60);
  const reporter = openReporter({ stream: terminal, clock: () => now });
  reporter.line("rkt: fetching image from a");
  const a = reporter.transfer("A");
  const b = reporter.transfer("B");
  a.begin(1000);
  b.begin(2000);
  now = 1000;
  a.advance(500);
  assert.equal(
    terminal.text(),
    [
      "rkt: fetching image from a",
      "A: [===========>          ] 500 B/1.00 kB, 500 B/s, 1s left",
      "B: [>                                  ] 0 B/2.00 kB, 0 B/s",
    ].join("\n"),
  );
  reporter.line("rkt: a \x1b[31mword");
  a.advance(500);
  a.end();
  a.end();
  assert.equal(
    terminal.text(),
    [
      "rkt: fetching image from a",
      "rkt: a \\x1b[31mword",
      "A: [======================================] 1.00 kB/1.00 kB",
      "B: [>                                  ] 0 B/2.00 kB, 0 B/s",
    ].join("\n"),
  );
  b.end();
  assert.match(terminal.text(), /\nB: \[>.*\] 0 B\/2\.00 kB\n$/);
});

test("a transfer that starts again counts from zero, and its rate is that of the last seconds", () => {
  let now = 0;
  const terminal = screen(60);
  const transfer = openReporter({ stream: terminal, clock: () => now }).transfer("A");
  transfer.begin(undefined);
  for (; now < 60_000; now += 500) transfer.advance(now < 30_000 ? 10_000 : 500);
  assert.match(terminal.text(), /^A: 630 kB, 1\.0\d kB\/s$/);
  transfer.begin(10);
  assert.equal(terminal.text(), "A: [>                                       ] 0 B/10 B");
});

test("elsewhere a transfer is a line now and then and one at its end", () => {
  let now = 0;
  let text = "";
  const reporter = openReporter({ stream: { write: (s: string) => (text += s) }, clock: () => now });
  reporter.line("rkt: fetching image from a\n");
  const transfer = reporter.transfer("Downloading aci");
  transfer.begin(1000);
  transfer.advance(100);
  now = 10_000;
  transfer.advance(100);
  transfer.advance(800);
  transfer.end();
  transfer.end();
  assert.equal(
    text,
    [
      "rkt: fetching image from a\\n",
      "Downloading aci: 200 B/1.00 kB, 20 B/s, 40s left",
      "Downloading aci: 1.00 kB/1.00 kB",
      "",
    ].join("\n"),
  );
});

test("quiet is silent", () => {
  const stream = {
    isTTY: true,
    write() {
      throw new Error("written");
    },
  };
  const reporter = openReporter({ stream, quiet: true });
  reporter.line("x");
  const transfer = reporter.transfer("x");
  transfer.begin(1);
  transfer.advance(1);
  transfer.end();
});
