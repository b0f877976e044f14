import assert from "node:assert/strict";
import { resolve } from "node:path";
import { test } from "node:test";
import { globalOptions, readGlobals } from "./globals.ts";
import { scanWords } from "./words.ts";

const read = (...words: string[]) => readGlobals(scanWords(words, globalOptions).options);
const defaults = {
  dir: "/var/lib/rkt",
  debug: false,
  quiet: false,
  insecure: new Set(),
  systemConfig: "/usr/lib/rkt",
  localConfig: "/etc/rkt",
  userConfig: undefined,
  help: false,
};

test("global options: none", async () => assert.deepEqual(await read(), defaults));

test("global options: all", async () => {
  assert.deepEqual(
    await read(
      ..."-dir=data -debug --quiet --system-config /s --local-config=/l --user-config=/u/ -h".split(" "),
      "--insecure-options=http,image",
      "--insecure-options=all-run",
    ),
    {
      dir: resolve("data"),
      debug: true,
      quiet: true,
      insecure: new Set(["http", "image", "capabilities", "paths", "seccomp"]),
      systemConfig: "/s",
      localConfig: "/l",
      userConfig: "/u",
      help: true,
    },
  );
});

test("global options: which checks a word turns off", async () => {
  const off = async (...words: string[]) => [...(await read(...words)).insecure].sort().join();
  assert.equal(await off("--insecure-options=none"), "");
  assert.equal(await off("--insecure-skip-verify"), "image");
  assert.equal(await off("--insecure-options=all-fetch"), "http,image,tls");
  assert.equal(await off("--insecure-options=all"), "capabilities,http,image,ondisk,paths,pubkey,seccomp,tls");
  await assert.rejects(off("--insecure-options=imgae"), {
    message: '--insecure-options: "imgae" is no check',
    exitCode: 2,
  });
  await assert.rejects(off("--insecure-options="), { exitCode: 2 });
  await assert.rejects(read("--dir="), { message: "--dir is empty", exitCode: 2 });
});
