/** A web server with one page; hello-client, in the same container, reads it. */

import type { Recipe } from "../../build/recipe.ts";

export default {
  name: "example.com/hello-server",
  versionOf: "busybox-static",
  packages: { "busybox-static": ["usr/bin/busybox"] },
  files: {
    "etc/passwd": { text: "root:x:0:0:root:/root:/bin/false\nwww:x:500:500:www:/srv/www:/bin/false\n" },
    "etc/group": { text: "root:x:0:\nwww:x:500:\n" },
    "srv/www/index.html": { text: "hello from another app of the same container\n" },
  },
  app: {
    exec: ["/usr/bin/busybox", "httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/srv/www"],
    user: "www",
    group: "www",
    ports: [{ name: "http", protocol: "tcp", port: 8080 }],
  },
} satisfies Recipe;
