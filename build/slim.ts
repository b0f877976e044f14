/**
 * esbuild plugins that keep what a bundle does not need out of it. Each says
 * what it replaces and why that is safe.
 */

import { dirname, join } from "node:path";
import type { Plugin } from "esbuild";
import { ROOT } from "./paths.ts";

const packageFile = (...path: string[]): string => join(ROOT, "node_modules", ...path);

/**
 * yargs and yargs-parser by their own entries for browsers, which need nothing
 * of a platform: no locale files, no look for a package.json, no stack of the
 * caller. `stage0/options.ts` and `commands/help.ts` use nothing of those.
 * What the entry imports from the web is resolved to the packages here.
 */
const yargsWithoutPlatform: Plugin = {
  name: "yargs-without-platform",
  setup(build) {
    build.onResolve({ filter: /^yargs$/ }, () => ({ path: packageFile("yargs", "browser.mjs") }));
    build.onResolve({ filter: /^https:\/\/unpkg\.com\/yargs-parser@/ }, () => ({
      path: packageFile("yargs-parser", "browser.js"),
    }));
    build.onResolve({ filter: /^https:\/\/unpkg\.com\/cliui@/ }, () => ({ path: "cliui", namespace: "slim" }));
    build.onLoad({ filter: /^cliui$/, namespace: "slim" }, () => ({
      resolveDir: dirname(packageFile()),
      contents: CLIUI,
    }));
  },
};

/**
 * cliui with its layout, but for the text our help has: no escape sequences,
 * and every character one column wide. Its own entry brings
 * `Intl.Segmenter` and the tables of East Asian widths.
 */
const CLIUI = `
import { cliui } from ${JSON.stringify(packageFile("cliui", "build", "lib", "index.js"))};

const stringWidth = (text) => text.length;
const stripAnsi = (text) => text;

function wrap(text, width) {
  return text.split("\\n").map((line) => wrapLine(line, width)).join("\\n");
}

function wrapLine(line, width) {
  const lines = [];
  let current;
  for (const word of line.split(" ")) {
    if (current !== undefined && current.length + 1 + word.length <= width) current += " " + word;
    else {
      if (current !== undefined) lines.push(current);
      current = word;
    }
  }
  return [...lines, current].join("\\n");
}

export default (options) => cliui(options, { stringWidth, stripAnsi, wrap });
`;

/** Applied to the `rkt` bundle, in order. */
export const SLIM: Plugin[] = [yargsWithoutPlatform];
