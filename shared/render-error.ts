/**
 * Renders an error, in all stages: the text for stderr and the exit status. Pure.
 *
 * An RktError is one line and perhaps a hint; --debug adds its causes. Any other error is a bug of rkt, and its stack
 * is shown. A plain errno is no bug, because its message names the operation and the object.
 */

import { EXIT_FAILURE, errorCode, errorText, printable, RktError } from "./errors.ts";

export interface RenderOptions {
  /** The program that failed: `rkt: run`, `rkt: stage1`, `rkt: app web`. */
  who: string;
  debug?: boolean;
}

export interface RenderedError {
  text: string;
  status: number;
}

export function renderError(error: unknown, { who, debug = false }: RenderOptions): RenderedError {
  if (!isKnown(error)) return { text: `${who}: internal error: ${stackOf(error, "")}\n`, status: EXIT_FAILURE };

  const { message, hint } = errorFacts(error);
  let text = `${who}: ${message}\n`;
  if (hint !== undefined) text += `hint: ${hint}\n`;
  if (debug) text += causeTree(error, "");
  return { text, status: error instanceof RktError ? error.exitCode : EXIT_FAILURE };
}

export interface ErrorFacts {
  /** One of docs/operate/errors.md, an errno's name, or "internal". */
  code: string;
  message: string;
  hint?: string | undefined;
  /** The causes, the outermost first. */
  causes: { code?: string | undefined; message: string }[];
}

/** The facts of an error, for programs (`--format=json`). */
export function errorFacts(error: unknown): ErrorFacts {
  const chain: unknown[] = [];
  for (let [cause] = causesOf(error); cause !== undefined; [cause] = causesOf(cause)) chain.push(cause);
  const causes = chain.map((cause) => ({ code: errorCode(cause), message: printable(errorText(cause)) }));
  if (!isKnown(error)) return { code: "internal", message: printable(errorText(error)), hint: undefined, causes };
  const root = chain.at(-1) ?? error;
  const hint = hintOf(error) ?? hintForErrno(errorCode(root));
  return {
    code: errorCode(error) ?? "internal",
    message: printable(summary(error, root)),
    hint: hint === undefined ? undefined : printable(hint),
    causes,
  };
}

function isKnown(error: unknown): error is Error {
  if (error instanceof RktError) return true;
  return error instanceof Error && "syscall" in error && /^E[A-Z0-9]+$/.test(errorCode(error) ?? "");
}

/** The message, followed by that of the innermost cause if it does not contain it. */
function summary(error: Error, root: unknown): string {
  const message = errorText(error);
  const bottom = errorText(root);
  return message.includes(bottom) ? message : `${message}: ${bottom}`;
}

function causesOf(error: unknown): unknown[] {
  if (!(error instanceof Error)) return [];
  const causes: unknown[] = error.cause === undefined ? [] : [error.cause];
  return error instanceof AggregateError ? [...causes, ...error.errors] : causes;
}

/** The hint of the outermost error that has one: that error knows best what was asked for. */
function hintOf(error: unknown): string | undefined {
  if (error instanceof RktError && error.hint !== undefined) return error.hint;
  for (const cause of causesOf(error)) {
    const hint = hintOf(cause);
    if (hint !== undefined) return hint;
  }
  return undefined;
}

function hintForErrno(code: string | undefined): string | undefined {
  switch (code) {
    case "ENOSPC":
      return "the file system is full: free some space, or give another one with --dir";
    case "EDQUOT":
      return "the disk quota is used up: free some space, or give another directory with --dir";
    case "EROFS":
      return "the file system is read-only: give another one with --dir";
    case "EMFILE":
    case "ENFILE":
      return "too many files are open: see `ulimit -n`";
    default:
      return undefined;
  }
}

/** The tree of causes, indented by depth, each with its code, further findings and stack. */
function causeTree(error: unknown, indent: string): string {
  let text = `${indent}${stackOf(error, indent)}\n`;
  if (error instanceof Error && "errors" in error && Array.isArray(error.errors))
    for (const finding of error.errors) if (typeof finding === "string") text += `${indent}  - ${printable(finding)}\n`;
  for (const cause of causesOf(error)) text += `${indent}  caused by:\n${causeTree(cause, `${indent}  `)}`;
  return text;
}

function stackOf(error: unknown, indent: string): string {
  if (!(error instanceof Error)) return printable(String(error));
  const code = errorCode(error);
  const head = `${error.name}${code === undefined ? "" : ` [${code}]`}: ${printable(error.message)}`;
  const frames = (error.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line));
  return [head, ...frames.map((frame) => `${indent}    ${printable(frame.trim())}`)].join("\n");
}
