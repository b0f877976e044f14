import assert from "node:assert/strict";
import { test } from "node:test";
import { hostEnvironment } from "./environment.ts";

const kept = { TERM: "xterm-256color", LANG: "de_DE.UTF-8", LANGUAGE: "de:en", LC_ALL: "C.UTF-8", TZ: "Europe/Berlin" };
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

test("terminal, language and clock are handed on, and PATH is the system's", () => {
  assert.deepEqual(hostEnvironment({ ...kept, PATH: "/tmp/mine" }), { ...kept, PATH });
});

test("nothing else is: not what some program takes code, files or arguments from, and not what is unknown yet", () => {
  const names =
    "XTABLES_LIBDIR IPTABLES_LIB_DIR IP6TABLES_LIB_DIR IP_LIB_DIR BZIP BZIP2 XZ_OPT XZ_DEFAULTS GNUPGHOME LIBMOUNT_FSTAB LOCPATH GODEBUG LD_PRELOAD NODE_OPTIONS NODE_CHANNEL_FD BASH_ENV ENV IFS HOME http_proxy TERMINFO TZDIR LC_ALL_ XLANG NEW_IN_2030";
  const env = Object.fromEntries(names.split(" ").map((name) => [name, "/tmp/mine"]));
  assert.deepEqual(hostEnvironment(env), { PATH });
});

test("what names a file in place of a zone, a locale or a terminal is not", () => {
  for (const value of ["/tmp/mine", ":/tmp/mine", "../../tmp/mine", "Europe/../../../../tmp/mine"])
    assert.deepEqual(hostEnvironment({ TZ: value, LANG: value, LC_ALL: value, TERM: value }), { PATH }, value);
});
