/**
 * esbuild plugins that leave unneeded code out of a bundle. Each says what it replaces, and why that is safe.
 */

import { builtinModules } from "node:module";
import { dirname, join } from "node:path";
import type { Plugin } from "esbuild";
import { ROOT } from "./paths.ts";

const packageFile = (...path: string[]): string => join(ROOT, "node_modules", ...path);

/**
 * Uses yargs's and yargs-parser's own entries for browsers: these read no locale files, do not search for a
 * package.json, and inspect no stack. `stage0/cli/help.ts`, the only user of yargs, needs none of that. Imports from
 * the web in these entries are resolved to the installed packages.
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
 * cliui's layout with simple functions for widths: our help has no escape sequences, and each character is one column
 * wide. cliui's own entry would bring `Intl.Segmenter` and the tables of East Asian widths.
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

/** Modules that the runtime has loaded already when a program begins. */
const AT_HAND = new Set(["buffer", "events", "fs", "module", "path", "timers", "url", "util"]);

/**
 * Loads Node's own modules at their first use, and not at the start: `node:crypto` alone takes 5 ms. esbuild's CommonJS
 * output reads an import's members where they are used, so a getter for each member is enough.
 */
export const lazyBuiltins: Plugin = {
  name: "lazy-builtins",
  setup(build) {
    const lazy = builtinModules.filter((name) => !AT_HAND.has(name) && !name.startsWith("_"));
    build.onResolve({ filter: /^(?:node:)?[a-z0-9_/]+$/ }, ({ path, namespace }) => {
      const name = path.replace(/^node:/, "");
      if (namespace === "lazy" || !lazy.includes(name)) return undefined;
      return { path: name, namespace: "lazy" };
    });
    build.onLoad({ filter: /.*/, namespace: "lazy" }, ({ path }) => {
      const exported = process.getBuiltinModule(`node:${path}`);
      // A module that is itself a function (assert, events) can't be an object of getters.
      if (typeof exported !== "object") return { contents: `module.exports = require("node:${path}");` };
      return {
        contents: `for (const name of ${JSON.stringify(Object.keys(exported))})
  Object.defineProperty(exports, name, { enumerable: true, get: () => require("node:${path}")[name] });`,
      };
    });
  },
};

/** Applied to the `rkt` bundle, in order. */
export const SLIM: Plugin[] = [yargsWithoutPlatform, lazyBuiltins];
