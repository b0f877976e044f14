/** etcd, the seed's own example: a server with ports, a data volume and a user of its own. */

import type { Recipe } from "../../build/recipe.ts";

const ETCD = { uid: 500, gid: 500 };

export default {
  name: "example.com/etcd",
  versionOf: "etcd-server",
  packages: { "etcd-server": ["usr/bin/etcd"], "etcd-client": ["usr/bin/etcdctl"] },
  directories: { "var/lib/etcd": { mode: 0o700, ...ETCD } },
  files: {
    "etc/passwd": { text: "root:x:0:0:root:/root:/bin/false\netcd:x:500:500:etcd:/var/lib/etcd:/bin/false\n" },
    "etc/group": { text: "root:x:0:\netcd:x:500:\n" },
  },
  app: {
    // Only this machine may connect: etcd asks for no password. A container with a network of its own needs
    // `-- --listen-client-urls=http://0.0.0.0:2379`; the last of two equal options counts.
    exec: [
      "/usr/bin/etcd",
      "--name=rkt",
      "--data-dir=/var/lib/etcd",
      "--listen-client-urls=http://127.0.0.1:2379",
      "--advertise-client-urls=http://127.0.0.1:2379",
      "--listen-peer-urls=http://127.0.0.1:2380",
    ],
    user: "etcd",
    group: "etcd",
    workingDirectory: "/var/lib/etcd",
    mountPoints: [{ name: "data-dir", path: "/var/lib/etcd" }],
    ports: [
      { name: "client", protocol: "tcp", port: 2379 },
      { name: "peer", protocol: "tcp", port: 2380 },
    ],
  },
} satisfies Recipe;
