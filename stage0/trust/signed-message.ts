/**
 * An OpenPGP message that has a document and its signatures in it, as
 * `gpg --sign` and skopeo write it. Takes it apart; `verify.ts` judges the
 * signatures, as it judges those that lie beside a file.
 */

import type { SignaturePacket } from "openpgp";
import { errorText, RktError } from "../../shared/errors.ts";
import { CLAIM_LIMIT } from "./signing-claim.ts";

export interface SignedMessage {
  document: Uint8Array;
  /** Detached signatures of it. */
  signature: Uint8Array;
}

export async function openSignedMessage(bytes: Uint8Array): Promise<SignedMessage> {
  const openpgp = await import("openpgp");
  const fail = (why: string, cause?: unknown) =>
    new RktError("signature-malformed", `the signature is no signed OpenPGP message: ${why}`, {
      hint: "`skopeo copy --sign-by` and `podman push --sign-by` write one",
      cause,
    });
  try {
    const config = { maxDecompressedMessageSize: CLAIM_LIMIT };
    const message = (await openpgp.readMessage({ binaryMessage: bytes, config })).unwrapCompressed();
    const packets: unknown[] = [...message.packets, ...(await restOf(message.packets))];
    const at = packets.findIndex((packet) => packet instanceof openpgp.LiteralDataPacket);
    // Announcements of signatures, the document, the signatures, and nothing that another reader would take for the document.
    const announced = packets.slice(0, at).every((packet) => packet instanceof openpgp.OnePassSignaturePacket);
    const signatures = packets.slice(at + 1).filter((packet) => packet instanceof openpgp.SignaturePacket);
    if (at < 0 || !announced || signatures.length === 0 || signatures.length !== packets.length - at - 1)
      throw fail("it is not one document and its signatures");
    const document = message.getLiteralData();
    if (!(document instanceof Uint8Array)) throw fail("there is no document in it");
    if (document.length > CLAIM_LIMIT) throw fail(`its document has ${document.length} bytes, more than ${CLAIM_LIMIT}`);
    const list = new openpgp.PacketList<SignaturePacket>();
    for (const signature of signatures) list.push(signature);
    return { document, signature: list.write() as Uint8Array };
  } catch (cause) {
    if (cause instanceof RktError) throw cause;
    throw fail(errorText(cause), cause);
  }
}

const MAX_PACKETS = 64;

/** openpgp reads what comes after a document when it is asked for. */
async function restOf(packets: object): Promise<unknown[]> {
  const { stream } = packets as { stream?: { getReader(): { read(): Promise<{ done: boolean; value?: unknown }> } } | null };
  const found: unknown[] = [];
  if (stream === undefined || stream === null) return found;
  const reader = stream.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    found.push(next.value);
    if (found.length > MAX_PACKETS) break;
  }
  return found;
}
