/** `npm run build:aci`: an image from a manifest and a directory. */

import { parseArgs } from "node:util";
import { parseOwner, writeDirectoryImage } from "../shared/aci/directory-image.ts";
import { COMPRESSIONS } from "../shared/aci/writer.ts";
import { usageError } from "../shared/errors.ts";
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
  const image = await writeDirectoryImage({
    manifest: existingPath("manifest", values.manifest),
    rootfs: existingPath("rootfs", values.rootfs),
    output: values.output === undefined ? undefined : userPath(values.output),
    directory: userPath("."),
    owner: values.owner === undefined ? undefined : parseOwner(values.owner),
    compression,
    level: level(values.level).level,
  });
  process.stderr.write(`${image.output}: ${megabytes(image.size)} (${megabytes(image.archiveSize)} unpacked)\n`);
  process.stdout.write(`${image.id}\n`);
}

if (import.meta.main) await program("build:aci", main);
