/**
 * The lower directories of a container's overlay mounts, as paths from the
 * container directory: nothing in them to escape. A layer of a stack goes by a
 * short link, because mount(2) takes one page of options.
 */

import { mkdirSync, symlinkSync } from "node:fs";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { type HostPath, hostPath } from "../../shared/contract/paths.ts";
import type { TreesFile } from "../../shared/contract/trees.ts";
import { readTreeManifest } from "../store/tree-directories.ts";

/** From a container directory to the data directory. */
const DATA = "../../..";

interface LowerDirectories {
  /** By tree, the lowest first. */
  trees: Map<string, HostPath[]>;
  /** Names of extracted layers, in the order of their links' numbers. */
  layers: string[];
}

/** `data`: the data directory, as this process sees it. */
export function lowerDirectories({ stage1, apps }: TreesFile, data: string = DATA): LowerDirectories {
  const [layout, store] = [containerLayout("."), dataLayout(data)];
  const numbers = new Map<string, number>();
  const trees = new Map<string, HostPath[]>();
  for (const { tree } of [stage1, ...Object.values(apps)]) {
    const layers = readTreeManifest(store, tree)?.layers;
    const links = layers?.map((layer) => {
      const n = numbers.get(layer) ?? numbers.size;
      numbers.set(layer, n);
      return layout.layer(n);
    });
    trees.set(tree, links ?? [dataLayout(DATA).treeRootfs(tree)]);
  }
  return { trees, layers: [...numbers.keys()] };
}

/** Makes the links of a container directory that is being filled. */
export function linkLayers(dir: HostPath, trees: TreesFile, data: string): void {
  const { layers } = lowerDirectories(trees, data);
  if (layers.length === 0) return;
  const layout = containerLayout(dir);
  mkdirSync(layout.layers, { mode: 0o755 });
  layers.forEach((layer, n) => {
    symlinkSync(dataLayout(`../${DATA}`).layerRootfs(layer), layout.layer(n));
  });
}

/** The option of an overlay mount: the highest first. */
export const lowerOption = (directories: readonly HostPath[]): string => hostPath(directories.toReversed().join(":"));
