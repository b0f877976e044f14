import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { STAGE1 } from "../shared/contract/stage1-root.ts";
import { ROOT } from "./paths.ts";
import { expandNames, SCRIPT_NAMES, stage1Assets } from "./script-names.ts";

const FILE = "stage1/nspawn/rootfs/usr/lib/rkt/x";

test("a placeholder becomes the contract's value, with its argument in it; all else stays", () => {
  const text = `#!/bin/sh
[ -e "@APP_STATUS:.$app@" ] && exec @RECORD@ "$@"
for unit in /x/@APP_CGROUP:*@; do echo "$@" user@host; done
x=@HERE_ROOT@@BUSYBOX@
`;
  assert.equal(
    expandNames(text, FILE),
    `#!/bin/sh
[ -e "${STAGE1.appStatus(".$app")}" ] && exec ${STAGE1.record} "$@"
for unit in /x/system.slice/app-*.service; do echo "$@" user@host; done
x=stage1/rootfs${STAGE1.busybox}
`,
  );
});

const mistakes = [
  { text: "\n\nexec @RECRD@", message: `${FILE}:3: there is no placeholder @RECRD@` },
  { text: "@toString@ @CONSTRUCTOR@", message: `${FILE}:1: there is no placeholder @CONSTRUCTOR@` },
  { text: "\nexec @RECORD $app", message: `${FILE}:2: @RECORD is no whole placeholder` },
  { text: "@APP_STATUS: $app@", message: `${FILE}:1: @APP_STATUS: is no whole placeholder` },
  { text: "@APP_STATUS@", message: `${FILE}:1: the placeholder @APP_STATUS@ needs an argument` },
  { text: "@STATUS:$app@", message: `${FILE}:1: the placeholder @STATUS:$app@ takes no argument` },
];
for (const { text, message } of mistakes)
  test(`refused: ${JSON.stringify(text)}`, () =>
    assert.throws(() => expandNames(text, FILE), { code: "bad-placeholder", message }));

const FLAVORS = ["stage1/nspawn/rootfs", "stage1/fly/rootfs"];

test("the scripts have every placeholder of the table", () => {
  const used = new Set<string>();
  for (const directory of FLAVORS)
    for (const [path, entry] of stage1Assets(directory))
      if (entry.type === "file")
        for (const [, name = ""] of readFileSync(join(ROOT, directory, path), "utf8").matchAll(/@([A-Z][A-Z0-9_]+)/g))
          used.add(name);
  assert.deepEqual(
    Object.keys(SCRIPT_NAMES).filter((name) => !used.has(name)),
    [],
  );
});

test("links, modes and owners are git's", () => {
  const tree = stage1Assets("stage1/nspawn/rootfs");
  const link = tree.get("usr/lib/systemd/system/halt.target");
  assert.deepEqual(link, { type: "symlink", target: "exit.target", mode: 0o777, uid: 0, gid: 0 });
  const record = tree.get("usr/lib/rkt/record");
  assert.deepEqual([record?.mode, record?.uid], [0o755, 0]);
  assert.ok(record?.type === "file" && record.content instanceof Uint8Array);
  assert.match(Buffer.from(record.content).toString(), new RegExp(`^\\. ${STAGE1.leftOver}$`, "m"));
});
