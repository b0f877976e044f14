/** A shell and the usual small programs, all of them busybox. */

import type { Recipe } from "../../build/recipe.ts";

const APPLETS = [
  ..."[ ash awk basename cat chmod chown chroot clear cmp cp cut date dd df diff dirname dmesg du echo ed env".split(
    " ",
  ),
  ..."expr false find fold free grep gunzip gzip head hexdump hostname httpd id ifconfig ip kill killall less".split(
    " ",
  ),
  ..."ln ls md5sum mkdir mkfifo mknod mktemp more mount mv nc netstat nslookup od pidof ping printf ps pwd".split(" "),
  ..."readlink realpath reset rm rmdir route sed seq setsid sh sha1sum sha256sum sha512sum sleep sort stat".split(" "),
  ..."strings stty sync tail tar tee telnet test time timeout top touch tr traceroute true truncate tty umount".split(
    " ",
  ),
  ..."uname uniq unlink unxz unzip uptime vi watch wc wget which whoami xargs xxd xzcat yes zcat".split(" "),
];

export default {
  name: "example.com/busybox",
  versionOf: "busybox-static",
  packages: { "busybox-static": ["usr/bin/busybox"] },
  links: Object.fromEntries(APPLETS.map((name) => [`usr/bin/${name}`, "busybox"])),
  files: {
    "etc/passwd": { text: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n" },
    "etc/group": { text: "root:x:0:\nnogroup:x:65534:\n" },
  },
  app: {
    exec: ["/bin/sh"],
    user: "root",
    group: "root",
    workingDirectory: "/root",
    environment: [{ name: "HOME", value: "/root" }],
  },
} satisfies Recipe;
