/** Reads the file `trees` of a container directory, for the stages that need it. */

import { MAX_LIST_BYTES, readBounded } from "./bounded-read.ts";
import { containerLayout } from "./contract/container-directory.ts";
import { parseTrees, type TreesFile } from "./contract/trees.ts";

export const readTreesFile = (dir: string): TreesFile =>
  parseTrees(readBounded(containerLayout(dir).trees, MAX_LIST_BYTES));
