/** redis: keeps what it was told in a volume. */

import type { Recipe } from "../../build/recipe.ts";

const REDIS = { uid: 500, gid: 500 };

export default {
  name: "example.com/redis",
  versionOf: "redis-tools",
  packages: {
    "redis-server": ["usr/bin/redis-server"],
    "redis-tools": ["usr/bin/redis-cli"],
  },
  directories: { "var/lib/redis": { mode: 0o700, ...REDIS } },
  files: {
    "etc/passwd": { text: "root:x:0:0:root:/root:/bin/false\nredis:x:500:500:redis:/var/lib/redis:/bin/false\n" },
    "etc/group": { text: "root:x:0:\nredis:x:500:\n" },
  },
  app: {
    exec: [
      "/usr/bin/redis-server",
      "--dir /var/lib/redis",
      "--bind 127.0.0.1",
      "--port 6379",
      // On every write: what a client was told is stored, is.
      "--appendonly yes",
      "--appendfsync always",
    ],
    user: "redis",
    group: "redis",
    workingDirectory: "/var/lib/redis",
    mountPoints: [{ name: "data", path: "/var/lib/redis" }],
    ports: [{ name: "redis", protocol: "tcp", port: 6379 }],
  },
} satisfies Recipe;
