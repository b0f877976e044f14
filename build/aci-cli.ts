/** `npm run build:aci`: an image from a manifest and a directory. */

import { readFileSync, statSync } from "node:fs";
import { parseArgs } from "node:util";
import { readTree } from "../shared/aci/tree.ts";
import { COMPRESSIONS, sourceDateEpoch, writeAci } from "../shared/aci/writer.ts";
import { usageError } from "../shared/errors.ts";
import { label, parseImageManifest } from "../shared/schema/image-manifest.ts";
import type { ImageManifest } from "../shared/schema/types.ts";
import { choice, existingPath, level, megabytes, program, userPath } from "./program.ts";

const HELP = `Usage: npm run build:aci -- --manifest FILE --rootfs DIR [options]

Makes an App Container Image (ACI) from an image manifest and a directory that
becomes the root file system. Owners, modes with setuid and sticky bits,
symbolic and hard links, devices, FIFOs and extended attributes (file
capabilities too) go into the image. Time stamps do not: the same directory and
manifest give the same image ID, whenever and wherever the image is made.

  --manifest FILE     the image manifest (JSON, appc spec); checked, and written
                      as it is
  --rootfs DIR        the root file system
  --output FILE       where to write (NAME-VERSION-OS-ARCH.aci here, from the
                      last part of the manifest's name and its labels)
  --compression C     ${COMPRESSIONS.join(", ")} (gzip); zstd is rkt's own, the
                      appc specification has the others
  --level N           compression level (the format's usual one)
  --owner UID:GID     give all files this owner, e.g. 0:0 when DIR was made by
                      an ordinary user
  --help

SOURCE_DATE_EPOCH sets the time stamp of all files (0). The image ID is printed
on stdout.

Example:
  mkdir -p root/bin && cp /bin/busybox root/bin/
  cat >manifest.json <<EOF
  {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/date",
   "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}],
   "app": {"exec": ["/bin/busybox", "date"], "user": "0", "group": "0"}}
  EOF
  npm run build:aci -- --manifest manifest.json --rootfs root --owner 0:0
  rkt run ./date-linux-amd64.aci
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      manifest: { type: "string" },
      rootfs: { type: "string" },
      output: { type: "string" },
      compression: { type: "string", default: "gzip" },
      level: { type: "string" },
      owner: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  if (values.manifest === undefined || values.rootfs === undefined)
    throw usageError("--manifest and --rootfs are needed", "--help shows an example");
  const compression = choice("compression", values.compression, COMPRESSIONS);
  const owner = values.owner === undefined ? {} : { owner: parseOwner(values.owner) };
  const text = readFileSync(existingPath("manifest", values.manifest), "utf8");
  const manifest = parseImageManifest(text, { object: values.manifest });
  const rootfs = existingPath("rootfs", values.rootfs);
  if (!statSync(rootfs).isDirectory()) throw usageError(`--rootfs: ${rootfs} is not a directory`);
  const output = userPath(values.output ?? fileName(manifest));
  const image = await writeAci(
    output,
    { manifest: text, rootfs: readTree(rootfs, owner), mtime: sourceDateEpoch() },
    { compression, ...level(values.level) },
  );
  process.stderr.write(`${output}: ${megabytes(image.size)} (${megabytes(image.archiveSize)} unpacked)\n`);
  process.stdout.write(`${image.id}\n`);
}

function parseOwner(text: string): { uid: number; gid: number } {
  const match = /^(\d+):(\d+)$/.exec(text);
  if (match === null) throw usageError(`--owner takes UID:GID in numbers, not ${text}`);
  return { uid: Number(match[1]), gid: Number(match[2]) };
}

/** The file name of simple discovery (appc spec, discovery.md): what the manifest does not say is left out. */
function fileName(manifest: ImageManifest): string {
  const name = manifest.name.slice(manifest.name.lastIndexOf("/") + 1);
  const labels = ["version", "os", "arch"].map((key) => label(manifest, key)?.replaceAll("/", "-"));
  return `${[name, ...labels].filter((part) => part !== undefined).join("-")}.aci`;
}

if (import.meta.main) await program("build:aci", main);
