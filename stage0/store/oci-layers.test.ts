/** What layers do to each other, judged by `umoci unpack` (image-spec, layer.md). */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { LAYERED, type LayeredImage } from "../../test/fixtures/oci-images.ts";
import { assertSameTree, bring, ociImage, readLayout, treeFacts, umociUnpack, writeLayout } from "../../test/helpers/oci.ts";
import { openStore } from "./store.ts";
import { openTree } from "./tree-directories.ts";

const base = mkdtempSync(join(tmpdir(), "rkt-layers-"));
const store = openStore(join(base, "data"));
after(() => {
  store.close();
  rmSync(base, { recursive: true, force: true });
});

function settled(facts: string, { timeless = [], copies = false }: LayeredImage): string {
  const lines = facts.split("\n").map((line) => {
    const [name = "", kind, ...rest] = line.split("|");
    if (kind === "d" && timeless.includes(name)) return [name, kind, ...rest.slice(0, 3)].join("|");
    return kind !== "d" && rest.length > 2 && copies ? [name, kind, ...rest.toSpliced(5, 1)].join("|") : line;
  });
  return lines.join("\n");
}

for (const [i, layered] of LAYERED.entries()) {
  const { name, layers } = layered;
  test(`layers: ${name}`, async () => {
    const image = ociImage(layers);
    const layout = join(base, `layout-${i}`);
    writeLayout(layout, image);
    const wanted = settled(treeFacts(umociUnpack(layout, join(base, `bundle-${i}`))), layered);
    const stored = await bring(store, image, `example.com/image-${i}`);
    for (const merged of [true, false]) {
      const { id } = await store.render(stored.key, "none", { merged });
      const fd = await openTree(dataLayout(join(base, "data")), id);
      try {
        assertSameTree(settled(treeFacts(`/proc/${process.pid}/fd/${fd}/.`), layered), wanted, merged ? "merged" : "stack");
      } finally {
        closeSync(fd);
      }
    }
  });
}

// --- images that other tools made of Debian packages ---------------------------------------

/** Files of packages as they are installed here, by tar; arguments: where, the packages. */
const INSTALLED = `installed() { local where=$1 f; shift; dpkg -L "$@" | sort -u | while read -r f; do [ -d "$f" ] || [ ! -e "$f" ] || echo "$f"; done | sed 's|^/||' | tar -C / -cf - -T - | tar -C "$where" -xpf -; }`;

/** What one layer after the other does; each line is a layer, and an image. */
const STEPS = [
  "installed . busybox-static base-files",
  "installed . sed tar; rm -r usr/share/doc",
  "mv usr/share usr/share.new; ln -s share.new usr/share",
  "rm -r etc; mkdir -m 0750 etc; echo a >etc/a; ln etc/a etc/b; chown 12:34 etc/b",
  "rm usr/share; mv usr/share.new usr/share; setfattr -n user.note -v x etc; setcap cap_net_raw+ep usr/bin/sed || setcap cap_net_raw+ep bin/sed",
  "mkdir -p opt/deep/deeper; truncate -s 1M opt/deep/hole; mkfifo opt/pipe; mknod opt/null c 1 3; chmod 1777 opt; rm etc/a; touch -d 2001-02-03 opt/deep",
  "rm -r opt; echo file >opt; rm -r usr/share/man; mkdir usr/share/man; echo >usr/share/man/new",
];

const run = (script: string, ...args: string[]): void => {
  const { status, stderr } = spawnSync("bash", ["-ec", script, "bash", ...args], {
    encoding: "utf8",
    env: { ...process.env, LC_ALL: "C" },
  });
  assert.equal(status, 0, stderr);
};

const makers: [tool: string, make: string][] = [
  [
    "buildah",
    `${INSTALLED}
dir=$1; storage="--root $dir/storage --runroot $dir/run --storage-driver overlay"; shift
from=scratch; n=0
for step; do
  container=$(buildah $storage from --pull-never $from); mount=$(buildah $storage mount $container)
  (cd "$mount"; eval "$step")
  buildah $storage commit -q $container image-$n >&2; buildah $storage rm $container >&2
  buildah $storage push -q image-$n oci:$dir/layout:$n; from=image-$n; n=$((n+1))
done
umount -l $dir/storage/overlay || true`,
  ],
  [
    "umoci",
    `${INSTALLED}
dir=$1; shift; umoci init --layout $dir/layout; umoci new --image $dir/layout:start; from=start; n=0
for step; do
  umoci unpack --image $dir/layout:$from $dir/bundle-$n
  (cd $dir/bundle-$n/rootfs; eval "$step")
  umoci repack --image $dir/layout:$n $dir/bundle-$n; from=$n; n=$((n+1))
done`,
  ],
];

for (const [tool, make] of makers)
  test(`layers that ${tool} made of Debian packages`, async () => {
    const at = join(base, tool);
    mkdirSync(at);
    run(make, at, ...STEPS);
    for (const i of STEPS.keys()) {
      const name = `${tool} ${i}`;
      const wanted = treeFacts(umociUnpack(join(at, "layout"), join(at, `unpacked-${i}`), String(i)));
      const stored = await bring(store, readLayout(join(at, "layout"), String(i)), `example.com/${tool}-${i}`, 1 << 16);
      for (const merged of [true, false]) {
        const { id } = await store.render(stored.key, "none", { merged });
        const fd = await openTree(dataLayout(join(base, "data")), id);
        try {
          // overlayfs counts the names that a file has in its own layer.
          const facts = (text: string) => (merged ? text : settled(text, { name, layers: [], copies: true }));
          const found = treeFacts(`/proc/${process.pid}/fd/${fd}/.`);
          assertSameTree(facts(found), facts(wanted), `${name}, ${merged ? "merged" : "stack"}`);
        } finally {
          closeSync(fd);
        }
      }
    }
  });
