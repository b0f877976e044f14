import assert from "node:assert/strict";
import { test } from "node:test";
import { parseNotifySocket } from "./notify-socket.ts";

for (const [value, socket] of [
  [undefined, undefined],
  ["", undefined],
  ["/run/systemd/notify", { kind: "file", path: "/run/systemd/notify" }],
  ["@/org/x", { kind: "abstract", name: "@/org/x" }],
] as const)
  test(`NOTIFY_SOCKET=${value}`, () => {
    assert.deepEqual(parseNotifySocket(value), socket);
  });

for (const value of ["/run/../tmp/x", "/run/./x", "//run/x", "/run/x/", "/", "run/x", "@", "vsock:2:9", ".."])
  test(`NOTIFY_SOCKET=${value} is refused`, () => {
    assert.throws(() => parseNotifySocket(value), /cannot notify NOTIFY_SOCKET=.*: it is neither a path/);
  });
