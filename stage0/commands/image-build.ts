import { usageError } from "../../shared/errors.ts";
import { callersMode } from "../host/caller-mask.ts";
import { type Command, readLine } from "../cli/command.ts";
import { print, say } from "../terminal/output.ts";
import { bytes } from "../terminal/table.ts";

const options = {
  manifest: { type: "string", value: "FILE", description: "the image manifest (JSON, appc spec), written as it is" },
  rootfs: { type: "string", value: "DIR", description: "the root file system" },
  output: { type: "string", value: "FILE", description: "where to write (NAME-VERSION-OS-ARCH.aci here)" },
  compression: {
    type: "string",
    choices: ["gzip", "xz", "zstd", "none"],
    value: "FORMAT",
    description: "gzip (the default), xz, zstd or none; zstd is rkt's own, the specification has the others",
  },
  level: { type: "string", value: "N", description: "compression level (the format's usual one)" },
  owner: { type: "string", value: "UID:GID", description: "owner of all files, in place of their own" },
  sign: {
    type: "string",
    bare: "",
    value: "KEY",
    description: "sign with gpg, by its default key or this one: FILE.asc",
  },
} as const;

export const command: Command = {
  usage: "image build --manifest=FILE --rootfs=DIR [options]",
  description: `Makes an image of a manifest and a directory, and prints its hash.

Owners, modes with setuid and sticky bits, links, devices, FIFOs and extended attributes become part of the image. Times do not: the same directory and manifest always give the same image. SOURCE_DATE_EPOCH sets the time of all files.`,
  examples: [
    ["rkt image build --manifest=date.json --rootfs=root --owner=0:0", "give root the files of an ordinary user"],
    ["rkt image build --manifest=date.json --rootfs=root --sign=builder@example.com", "and its signature beside it"],
  ],
  options,
  operands: [0, 0],
  async run(line, globals) {
    const { options: given } = readLine(line, options);
    const { manifest, rootfs, output, sign, compression = "gzip" } = given;
    if (manifest === undefined || rootfs === undefined) throw usageError("--manifest and --rootfs are needed");
    if (given.level !== undefined && !/^\d{1,2}$/.test(given.level))
      throw usageError(`--level takes a number, not ${JSON.stringify(given.level)}`);
    const { parseOwner, writeDirectoryImage } = await import("../../shared/aci/directory-image.ts");
    const { IMPORT_LIMITS } = await import("../store/blob-import.ts");
    const { signWithGpg } = await import("../trust/sign.ts");
    const image = await writeDirectoryImage(
      {
        ...{ manifest, rootfs, output, directory: "." },
        owner: given.owner === undefined ? undefined : parseOwner(given.owner),
        compression: compression as "gzip" | "xz" | "zstd" | "none",
        level: given.level === undefined ? undefined : Number(given.level),
        maxSize: IMPORT_LIMITS.archiveSize,
        mode: callersMode(0o666),
      },
      async (file, target) => {
        if (sign !== undefined) signWithGpg(file, `${target}.asc`, sign);
      },
    );
    if (!globals.quiet) say(`${image.output}: ${bytes(image.size)}, ${bytes(image.archiveSize)} unpacked`);
    print(`${image.id}\n`);
  },
};
