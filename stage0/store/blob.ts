/**
 * Reading a blob. A blob that is not what its name says is refused. Another
 * thread reads and hashes a big blob, and shares what it has read: so the blob
 * is read once, and on two processors takes no longer than without a hash.
 */

import { createHash } from "node:crypto";
import { fstatSync, readSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { Worker } from "node:worker_threads";
import { errorCode, RktError } from "../../shared/errors.ts";
import type { DataLayout } from "../../shared/contract/data-directory.ts";
import { blobKey, shortId } from "../../shared/contract/image-ids.ts";
import { fileChunks } from "../archive/file-chunks.ts";

/** The chunks may not be relied on before `verify` has resolved. */
export interface BlobReader {
  /** As `fileChunks`, and once. Nobody may write into a chunk: it may be hashed at the same time. */
  chunks(): AsyncGenerator<Buffer, void, undefined>;
  /** Rejects with "damaged-image" when the content is not what the key says. */
  verify(): Promise<void>;
  close(): Promise<void>;
}

/** `check` false: the content is taken as it is. */
export async function openBlob(layout: DataLayout, key: string, check: boolean): Promise<BlobReader> {
  let file: FileHandle;
  try {
    file = await open(layout.blob(key));
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    throw damaged(key, "its blob is not there");
  }
  const hashed = check ? await hash(file) : unchecked(file);
  // The reader may fail first, and never call `verify`.
  hashed.digest.catch(() => {});
  return {
    chunks: hashed.chunks,
    async verify() {
      hashed.skipRest();
      const digest = await hashed.digest;
      if (digest === undefined) return;
      const found = `sha512-${digest}`;
      if (blobKey(found) !== key) throw damaged(key, `its blob has the hash ${shortId(found)}`);
    },
    async close() {
      await hashed.stop();
      await file.close();
    },
  };
}

/** What is wrong with a blob; undefined when nothing is. */
export async function blobDamage(layout: DataLayout, key: string): Promise<RktError | undefined> {
  try {
    const blob = await openBlob(layout, key, true);
    try {
      await blob.verify();
    } finally {
      await blob.close();
    }
  } catch (error) {
    if (error instanceof RktError && error.code === DAMAGED) return error;
    throw error;
  }
  return undefined;
}

/** Code of the error that a blob is not what its name says. */
export const DAMAGED = "damaged-image";

function damaged(key: string, what: string): RktError {
  return new RktError(DAMAGED, `image ${shortId(key)} is damaged: ${what}`, {
    hint: "`rkt fetch` it again, from where it came; `rkt image verify` finds all that is damaged",
  });
}

interface Hashed {
  chunks(): AsyncGenerator<Buffer, void, undefined>;
  /** Of all of it, hexadecimal; undefined where nobody asks. */
  digest: Promise<string | undefined>;
  /** No more chunks are asked for. */
  skipRest(): void;
  stop(): Promise<unknown>;
}

/** A smaller blob is hashed in less time than a thread takes to start. */
const THREAD_BYTES = 8 * 1024 ** 2;
const CHUNK = 1024 * 1024;

const unchecked = (file: FileHandle): Hashed => ({
  chunks: () => fileChunks(file),
  digest: Promise.resolve(undefined),
  skipRest: () => {},
  stop: async () => {},
});

async function hash(file: FileHandle): Promise<Hashed> {
  const { fd } = file;
  if (fstatSync(fd).size >= THREAD_BYTES) return inThread(fd);
  const hash = createHash("sha512");
  const buffer = Buffer.allocUnsafe(CHUNK);
  let position = 0;
  for (let n = readSync(fd, buffer, 0, CHUNK, position); n > 0; n = readSync(fd, buffer, 0, CHUNK, position)) {
    hash.update(buffer.subarray(0, n));
    position += n;
  }
  return { ...unchecked(file), digest: Promise.resolve(hash.digest("hex")) };
}

/** What the thread may be ahead of the reader; all in the caches of the processor. */
const SLOTS = 4;
const SLOT = 256 * 1024;
/** More than any blob has. */
const ALL = 2 ** 31 - 1;

/**
 * The thread fills one slot after the other, says how many bytes are in each, and at last the digest. It waits for the
 * number of slots that the reader is done with.
 */
async function inThread(fd: number): Promise<Hashed> {
  const { Worker } = await import("node:worker_threads");
  const shared = new SharedArrayBuffer(SLOTS * SLOT);
  const done = new Int32Array(new SharedArrayBuffer(4));
  const worker: Worker = new Worker(THREAD, { eval: true, workerData: { fd, shared, done, slot: SLOT, slots: SLOTS } });
  const filled: number[] = [];
  let failure: unknown;
  let wake = () => {};
  const digest = new Promise<string>((resolve, reject) => {
    const fail = (error: unknown): void => {
      failure ??= error;
      reject(error);
      wake();
    };
    worker.on("message", (said: number | string) => {
      if (typeof said === "string") return resolve(said);
      filled.push(said);
      wake();
    });
    worker.once("error", fail);
    worker.once("exit", () => fail(new Error("the thread that hashes a blob has ended")));
  });
  const release = (slots: number): void => {
    Atomics.store(done, 0, slots);
    Atomics.notify(done, 0);
  };
  async function* chunks(): AsyncGenerator<Buffer, void, undefined> {
    for (let slot = 0; ; slot++) {
      while (filled.length <= slot) {
        if (failure !== undefined) throw failure;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const bytes = filled[slot] ?? 0;
      if (bytes === 0) return;
      yield Buffer.from(shared, (slot % SLOTS) * SLOT, bytes);
      release(slot + 1);
    }
  }
  return { chunks, digest, skipRest: () => release(ALL), stop: () => worker.terminate() };
}

/** The thread reads the same open file, because it has its process's descriptors. */
const THREAD = `
const { createHash } = require("node:crypto");
const { readSync } = require("node:fs");
const { parentPort, workerData: { fd, shared, done, slot, slots } } = require("node:worker_threads");
const hash = createHash("sha512");
for (let i = 0, n = 1, position = 0; n > 0; i++, position += n) {
  for (let seen; (seen = Atomics.load(done, 0)) <= i - slots; ) Atomics.wait(done, 0, seen);
  const bytes = Buffer.from(shared, (i % slots) * slot, slot);
  n = readSync(fd, bytes, 0, slot, position);
  parentPort.postMessage(n);
  hash.update(bytes.subarray(0, n));
}
parentPort.postMessage(hash.digest("hex"));
`;
