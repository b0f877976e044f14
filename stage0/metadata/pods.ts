/**
 * Finds the container that a request comes from. A container's registration is nowhere but in its own directory: the
 * manifest holds the token, `net/networks` the addresses, and the lock says that it runs. So the registration exists
 * from the start, and ends with the container, even if that is killed.
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
  /** The number of registered containers that run. */
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
      // A text that can't be a token is refused at once.
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

/**
 * The manifest that the service shows. Early apps are known by their address: an app that has taken another's address
 * must not learn the token from the manifest.
 */
const withoutToken = (manifest: PodManifest): PodManifest => ({
  ...manifest,
  annotations: manifest.annotations.filter(({ name }) => name !== ANNOTATIONS.metadataUrl),
});

const runs = ({ ref }: { ref: ContainerRef }): boolean => phase(ref) === "running";

/**
 * Reads a container's manifest and token. A damaged or vanished container has no metadata, and does not disturb others.
 */
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

/** The token is the last part of the URL's path. */
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
