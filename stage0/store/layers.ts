/**
 * The order in which the images of a tree are extracted (appc spec ace.md
 * "Filesystem Setup"): dependencies depth first in their order, then the image
 * itself. A pathWhitelist holds for the image itself and all that it depends
 * on. Does no I/O.
 *
 * If several images depend on the same one, the order can become exponentially
 * long, for a layer comes once for each. A layer that is extracted again with
 * the same whitelists restores its own paths, and leaves the others as they
 * are. So only its last time is needed, unless a layer in between reads files
 * of the layers below it, as hard links to files of another image do.
 */

import { RktError } from "../../shared/errors.ts";
import type { OciContent } from "./oci-content.ts";
import type { Dependency, ImageManifest } from "../../shared/schema/types.ts";

/** An image that is extracted over those before it. */
export interface Layer {
  key: string;
  /** Those of the image itself and of the images that depend on it: a path must be in every one. */
  whitelists: readonly Whitelist[];
}

export type Whitelist = ReadonlySet<string>;

export interface LayerOrder {
  /** Lowest first: of `A → [B, C], C → [D]` they are B, D, C, A. A repeated layer is there at its last time only. */
  layers: Layer[];
  /** Whether a layer was left out for that. */
  shortened: boolean;
  /** Each layer as often as the specification has it; throws if they are too many. */
  all(): Layer[];
  /** Differs from that of any other order of the same images. */
  text: string;
}

/** What must be known of images to order them. */
export interface LayerSource {
  manifest(key: string): ImageManifest;
  /** Key of the image that a dependency stands for; throws if there is none. */
  dependency(of: ImageManifest, dependency: Dependency): string;
}

/** What must be known of images to render them. */
export interface TreeSource extends LayerSource {
  mustCheck: MustCheck;
  /** What an OCI image is made of; undefined for another image. */
  oci(key: string): OciContent | undefined;
  /** Whether blobs are checked at all. */
  checksBlobs: boolean;
}

/** Whether a blob is to be hashed while it is read. */
export type MustCheck = (key: string) => boolean;

export const LAYER_LIMITS = {
  /** Images from the first one down to one that it depends on, both included. */
  depth: 64,
  layers: 1024,
  /** Dependencies that are followed. */
  steps: 100_000,
  /** Bytes of the directories that all whitelists imply. */
  whitelistBytes: 64 * 1024 ** 2,
};

export type LayerLimits = typeof LAYER_LIMITS;

interface Node {
  key: string;
  name: string;
  whitelist: Whitelist | undefined;
  dependencies: readonly string[];
}

/** The whitelists of the images above. The same whitelists are always the same object. */
interface Inherited {
  id: string;
  whitelists: readonly Whitelist[];
}

export function layersOf(root: string, source: LayerSource, limits: LayerLimits = LAYER_LIMITS): LayerOrder {
  const nodes = new Map<string, Node>();
  const known = new Map<string, Inherited>();
  let whitelistBytes = 0;

  function node(key: string): Node {
    const there = nodes.get(key);
    if (there !== undefined) return there;
    const manifest = source.manifest(key);
    const { paths, bytes } = whitelist(manifest.pathWhitelist, limits.whitelistBytes - whitelistBytes);
    whitelistBytes += bytes;
    if (whitelistBytes > limits.whitelistBytes) throw tooMany("its pathWhitelists are too long");
    if (manifest.dependencies.length > limits.steps) throw tooMany("it has too many dependencies");
    const made = {
      key,
      name: manifest.name,
      whitelist: manifest.pathWhitelist.length === 0 ? undefined : paths,
      dependencies: manifest.dependencies.map((dependency) => source.dependency(manifest, dependency)),
    };
    nodes.set(key, made);
    return made;
  }

  const tooMany = (what: string): RktError =>
    new RktError("too-many-layers", `image ${source.manifest(root).name}: ${what}`, {
      hint: "an image depends directly or indirectly on the same one too often, or on too many",
    });

  /** The order of whitelists makes no difference to a path, so that they are one set. */
  function within(inherited: Inherited, { key, whitelist: own }: Node): Inherited {
    if (own === undefined) return inherited;
    const keys = inherited.id === "" ? [] : inherited.id.split(" ");
    if (keys.includes(key)) return inherited;
    const id = [...keys, key].sort().join(" ");
    const there = known.get(id);
    if (there !== undefined) return there;
    const made = { id, whitelists: [...inherited.whitelists, own] };
    known.set(id, made);
    return made;
  }

  /** Walks from the last layer to the first, so that a repeated layer is met at its last time first. */
  function backwards(once: boolean): { layers: Layer[]; text: string[]; repeated: boolean } {
    const layers: Layer[] = [];
    const text: string[] = [];
    const met = new Set<string>();
    const above = new Map<string, string>();
    let repeated = false;
    let steps = 0;
    const visit = (key: string, inherited: Inherited): void => {
      const at = node(key);
      if (above.has(key))
        throw new RktError(
          "dependency-cycle",
          `image ${at.name} depends on itself: ${[...above.values(), at.name].join(" → ")}`,
        );
      if (above.size >= limits.depth)
        throw new RktError("dependency-depth", `image ${node(root).name}: dependencies more than ${limits.depth} deep`);
      if (++steps > limits.steps) throw tooMany(`it has more than ${limits.steps} dependencies, direct and indirect`);
      const whitelists = within(inherited, at);
      const layer = `${key} ${whitelists.id}`;
      if (met.has(layer)) repeated = true;
      if (once && met.has(layer)) return;
      met.add(layer);
      if (layers.length >= limits.layers) throw tooMany(`it is made of more than ${limits.layers} images`);
      layers.push({ key, whitelists: whitelists.whitelists });
      text.push(layer);
      above.set(key, at.name);
      for (const dependency of at.dependencies.toReversed()) visit(dependency, whitelists);
      above.delete(key);
    };
    visit(root, { id: "", whitelists: [] });
    return { layers: layers.reverse(), text: text.reverse(), repeated };
  }

  const { layers, text, repeated } = backwards(true);
  return { layers, shortened: repeated, all: () => backwards(false).layers, text: text.join("\n") };
}

/** Linux refuses longer paths, and so does the reader of archives. */
const MAX_PATH = 4096;

/**
 * A whitelist as a set of paths. A directory above a listed path is in the set
 * as its name with a slash. `bytes` is the length of all these directories; the
 * count stops soon after `limit`.
 */
function whitelist(list: readonly string[], limit: number): { paths: Set<string>; bytes: number } {
  const paths = new Set<string>();
  let bytes = 0;
  for (const listed of list) {
    const parts = Buffer.from(listed)
      .toString("latin1")
      .split("/")
      .filter((part) => part !== "" && part !== ".");
    const path = parts.join("/");
    if (path.length > MAX_PATH) continue;
    paths.add(path);
    // From below, because the directories above a known one are known too.
    for (let end = path.lastIndexOf("/"); end > 0 && bytes <= limit; end = path.lastIndexOf("/", end - 1)) {
      const directory = path.slice(0, end + 1);
      if (paths.has(directory)) break;
      paths.add(directory);
      bytes += directory.length;
    }
  }
  return { paths, bytes };
}
