/**
 * Draws the pictures of docs/: each `docs/pictures/NAME.dot`, in the language of Graphviz, becomes `NAME.svg` beside
 * it. A program, `npm run pictures`.
 */

import { globSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { instance } from "@viz-js/viz";
import { ROOT } from "./paths.ts";
import { program } from "./program.ts";

/** The pictures' sources, relative to the project. */
export const sources = (): string[] => globSync("docs/pictures/*.dot", { cwd: ROOT }).sort();

export const pictureOf = (source: string): string => source.replace(/\.dot$/, ".svg");

/** Draws a picture, and returns the text of its file. */
export async function draw(source: string): Promise<string> {
  const viz = await instance();
  return viz.renderString(readFileSync(join(ROOT, source), "utf8"), { format: "svg" });
}

if (import.meta.main)
  await program("pictures", async () => {
    for (const source of sources()) writeFileSync(join(ROOT, pictureOf(source)), await draw(source));
  });
