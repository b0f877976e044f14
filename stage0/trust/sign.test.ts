import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { makeGpg } from "../../test/fixtures/gpg.ts";

/** rkt reads its environment once: this is another process. It exchanges the image's file before gpg is asked to sign it. */
const SIGNS = `
  import { readdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
  import { OutputFile } from ${JSON.stringify(import.meta.resolve("../../shared/output-file.ts"))};
  import { signWithGpg } from ${JSON.stringify(import.meta.resolve("./sign.ts"))};
  const image = new OutputFile("image", { mode: 0o600 });
  writeFileSync(image.fd, "ours");
  const [temporary] = readdirSync(".").filter((name) => name.startsWith("image."));
  renameSync(temporary, "stolen");
  symlinkSync("theirs", temporary);
  signWithGpg(image, "image.asc", process.argv[1]);
  image.place({ overwrite: false, flush: false });
`;

test("gpg signs what was written, whatever has the file's name meanwhile", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "rkt-sign-"));
  t.after(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, "theirs"), "theirs");
  const gpg = makeGpg();
  const key = gpg.newKey("Signer");
  execFileSync(process.execPath, ["--no-warnings", "--input-type=module", "-e", SIGNS, key], {
    cwd: directory,
    env: { GNUPGHOME: gpg.home, HOME: gpg.home, PATH: "/usr/bin:/bin" },
  });
  assert.equal(readFileSync(join(directory, "image"), "utf8"), "ours");
  const verdict = (file: string) =>
    spawnSync("gpg", ["--verify", "image.asc", file], { cwd: directory, env: { GNUPGHOME: gpg.home, PATH: "/usr/bin:/bin" } }).status;
  assert.equal(verdict("image"), 0);
  assert.equal(verdict("theirs"), 1);
  assert.deepEqual(readdirSync(directory).filter((name) => name.startsWith("image.asc")), ["image.asc"]);
});
