/** Options for JSON: one line for programs, or indented for people. */

import type { OptionTable } from "../cli/words.ts";

export const prettyPrintOption = {
  "pretty-print": {
    type: "string",
    bare: "true",
    choices: ["true", "false"],
    description: "indented (the default); false: in one line",
  },
} as const satisfies OptionTable;

export const isPretty = (given: { "pretty-print": string | undefined }): boolean => given["pretty-print"] !== "false";

/** `usual` is the default form, for people. */
export const formatOption = <const Usual extends string>(usual: Usual) =>
  ({
    format: {
      type: "string",
      choices: [usual, "json", "json-pretty"],
      value: "FORMAT",
      description: `${usual} (the default), json in one line, or json-pretty`,
    },
  }) as const satisfies OptionTable;
