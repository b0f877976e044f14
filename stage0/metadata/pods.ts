/**
 * Which container a request comes from. Nothing is registered anywhere but in
 * the container's own directory: its manifest holds the token, `net/networks`
 * its addresses, and its lock says that it runs. So a registration is there
 * from the first moment, and gone with the container, whatever killed it.
 */

import { timingSafeEqual } from "node:crypto";
import { MAX_LIST_BYTES, readBounded } from "../../shared/bounded-read.ts";
import { errorCode, RktError } from "../../shared/errors.ts";
import { ANNOTATIONS } from "../../shared/contract/annotations.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { blobKey } from "../../shared/contract/image-ids.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import type { PodManifest } from "../../shared/schema/types.ts";
import { readManifest } from "../container/inspect.ts";
import { type ContainerRef, listContainers, phase } from "../container/lifecycle.ts";
import type { ManifestReader } from "../store/manifest-reader.ts";
import type { Pod, Pods } from "./service.ts";

interface Known {
  manifest: PodManifest;
  /** Undefined: not registered. */
  token: string | undefined;
}

export interface RegisteredPods extends Pods {
  /** How many there are. */
  count(): number;
}

export function openPods(data: string, store: ManifestReader): RegisteredPods {
  // A manifest never changes.
  const known = new Map<string, Known>();

  /** The containers that are registered, whether they still run or not. */
  function* registered(): Generator<{ ref: ContainerRef; manifest: PodManifest; token: string }> {
    const refs = listContainers(data, ["run"]);
    const uuids = new Set(refs.map(({ uuid }) => uuid));
    for (const uuid of known.keys()) if (!uuids.has(uuid)) known.delete(uuid);
    for (const ref of refs) {
      const facts = known.get(ref.uuid) ?? examine(ref);
      if (facts === undefined) continue;
      known.set(ref.uuid, facts);
      const { manifest, token } = facts;
      if (token !== undefined) yield { ref, manifest, token };
    }
  }

  const pod = ({ uuid }: ContainerRef, manifest: PodManifest): Pod => ({
    uuid,
    manifest: withoutToken(manifest),
    imageManifest: (app) => store.manifest(blobKey(app.image.id)),
    imageManifestText: (app) => store.manifestText(blobKey(app.image.id)),
  });

  return {
    count: () => [...registered()].filter(runs).length,
    byToken(token) {
      // What cannot be one costs nothing.
      if (!TOKEN.test(token)) return undefined;
      for (const one of registered())
        if (sameText(one.token, token)) return runs(one) ? pod(one.ref, one.manifest) : undefined;
      return undefined;
    },
    byAddress(address) {
      for (const one of registered())
        if (addressesOf(one.ref).includes(address) && runs(one)) return pod(one.ref, one.manifest);
      return undefined;
    },
  };
}

/** What the service tells: an app of old is known by its address, and whoever takes that must not learn the token from it. */
const withoutToken = (manifest: PodManifest): PodManifest => ({
  ...manifest,
  annotations: manifest.annotations.filter(({ name }) => name !== ANNOTATIONS.metadataUrl),
});

const runs = ({ ref }: { ref: ContainerRef }): boolean => phase(ref) === "running";

/** A damaged or vanished container has no metadata; others have theirs. */
function examine(ref: ContainerRef): Known | undefined {
  try {
    const manifest = readManifest(ref.dir);
    return { manifest, token: tokenOf(annotation(manifest.annotations, ANNOTATIONS.metadataUrl)) };
  } catch (error) {
    if (error instanceof RktError) return undefined;
    throw error;
  }
}

const TOKEN = /^[0-9a-f]+$/;

/** The last part of the URL's path. */
function tokenOf(url: string | undefined): string | undefined {
  return url?.split("/").at(-1);
}

function sameText(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

/** The addresses a container has on its networks, without their prefix lengths. */
function addressesOf({ dir }: ContainerRef): string[] {
  let text: string;
  try {
    text = readBounded(containerLayout(dir).networks, MAX_LIST_BYTES);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
  const networks: { addresses?: string[] }[] = JSON.parse(text);
  return networks.flatMap(({ addresses = [] }) => addresses.map((address) => address.replace(/\/\d+$/, "")));
}
