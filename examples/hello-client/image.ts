/** Reads the page of hello-server, which shares the container and so its network, and prints it. */

import type { Recipe } from "../../build/recipe.ts";

// Apps of a container start in order, but none waits until another one answers.
const READ = "until busybox wget -q -O - http://127.0.0.1:8080/; do busybox sleep 0.1; done";

export default {
  name: "example.com/hello-client",
  versionOf: "busybox-static",
  packages: { "busybox-static": ["usr/bin/busybox"] },
  files: {
    "etc/passwd": { text: "root:x:0:0:root:/root:/bin/false\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n" },
    "etc/group": { text: "root:x:0:\nnogroup:x:65534:\n" },
  },
  app: { exec: ["/usr/bin/busybox", "sh", "-c", READ], user: "nobody", group: "nogroup" },
} satisfies Recipe;
