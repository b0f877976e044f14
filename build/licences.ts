/**
 * Collects the licences of all parts of the executables: rkt's own, Bun's, and those of the bundled npm packages,
 * each from its package. Bun's package has none: ours is build/runtime-licence.txt.
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { RktError } from "../shared/errors.ts";
import { ROOT } from "./paths.ts";

export interface Licence {
  name: string;
  version: string;
  /** SPDX expression. */
  expression: string;
  text: string;
}

/** The licences of a bundle's packages, sorted by name. `inputs` are the bundle's files, relative to the project. */
export function packageLicences(inputs: readonly string[]): Licence[] {
  const directories = inputs.flatMap((input) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input) ?? []);
  return [...new Set(directories)].map((directory) => licence(directory)).sort((a, b) => (a.name < b.name ? -1 : 1));
}

export const ownLicence = (): string => readFileSync(join(ROOT, "LICENSE"), "utf8");
export const runtimeLicence = (): string => readFileSync(join(import.meta.dirname, "runtime-licence.txt"), "utf8");

function licence(directory: string): Licence {
  const { name, version, license } = JSON.parse(readFileSync(join(ROOT, directory, "package.json"), "utf8"));
  const files = readdirSync(join(ROOT, directory)).filter((entry) => /^licen[cs]e/i.test(entry));
  if (files.length === 0 || typeof license !== "string")
    throw new RktError("no-licence", `package ${name} ${version} comes without a licence`, {
      hint: "what is distributed needs one: use another package",
    });
  const texts = files.map((file) => readFileSync(join(ROOT, directory, file), "utf8"));
  return { name, version, expression: license, text: texts.join("\n\n") };
}

/** The text of the file LICENSES. */
export function licenceFile(inputs: readonly string[]): string {
  const packages = packageLicences(inputs);
  const parts = [
    ["rkt (Apache-2.0)", ownLicence()],
    ["Bun, with its own parts", runtimeLicence()],
    ...packages.map(({ name, version, expression, text }) => [`${name} ${version} (${expression})`, text]),
  ] as [string, string][];
  const list = parts.map(([title]) => `  ${title}\n`).join("");
  const texts = parts.map(([title, text]) => `${"-".repeat(78)}\n${title}\n\n${text.trim()}\n\n`);
  return `The executable rkt is made of:\n\n${list}\nTheir licences:\n\n${texts.join("")}`;
}
