/**
 * Calls a function of a shared object by the runtime's foreign function interface: that of Bun, which the executables
 * carry, or that of Node.js, which runs the build and the tests. No other module loads either.
 */

/** What a function takes: a number (unsigned, 64 bits), or memory as the binding passes it. */
export type Word = bigint | Buffer;
type Function = (...words: Word[]) => bigint;

export interface Binding {
  /** `function(words) -> long` of the library at `path`. */
  bind(path: string, name: string, words: number): Function;
  /** How a buffer is passed to a function. */
  memory(buffer: Buffer): Word;
  /** Where the bytes of a large buffer are. */
  addressOf(buffer: Buffer): bigint;
}

/** bun:ffi, as far as it is used here (bun.sh, "FFI"). */
interface BunFfi {
  dlopen(
    path: string,
    symbols: Record<string, { args: readonly string[]; returns: string }>,
  ): { symbols: Record<string, Function> };
  ptr(buffer: Buffer): number;
}

function bunBinding(): Binding {
  const { dlopen, ptr } = require("bun:ffi") as BunFfi;
  // JavaScriptCore does not move memory.
  const addressOf = (buffer: Buffer): bigint => BigInt(ptr(buffer));
  return {
    addressOf,
    memory: addressOf,
    bind(path, name, words) {
      const { symbols } = dlopen(path, { [name]: { args: Array(words).fill("u64"), returns: "i64" } });
      return symbols[name] as Function;
    },
  };
}

function nodeBinding(): Binding {
  const { dlopen, getRawPointer } = process.getBuiltinModule("node:ffi");
  return {
    addressOf: getRawPointer,
    // V8 keeps small buffers in its heap, and moves them until the call.
    memory: (buffer) => buffer,
    bind: (path, name, words) =>
      dlopen(path).lib.getFunction(name, { return: "i64", arguments: Array(words).fill("pointer") }) as Function,
  };
}

let loaded: Binding | undefined;

/** Loads it at the first use: a command that needs none pays nothing. */
export function binding(): Binding {
  loaded ??= "bun" in process.versions ? bunBinding() : nodeBinding();
  return loaded;
}
