/** The blob of an OCI image (ADR 11): an archive that only the store writes. Pure: the same documents give the same bytes. */

import { BLOCK, header, padding } from "../../shared/aci/tar-header.ts";
import { OCI_ENTRIES, type OciTexts } from "./oci-content.ts";

/** `manifestText`: the image manifest that the configuration is mapped to. */
export function ociBlob(manifestText: string, { manifest, config }: OciTexts): Buffer {
  const members: [path: string, content: Uint8Array][] = [
    ["manifest", Buffer.from(manifestText)],
    [OCI_ENTRIES[0], manifest],
    [OCI_ENTRIES[1], config],
  ];
  const parts = members.flatMap(([path, content]) => [
    header({ path, type: "file", mode: 0o644, uid: 0, gid: 0, size: content.length, mtime: 0 }),
    content,
    Buffer.alloc(padding(content.length)),
  ]);
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)]);
}
