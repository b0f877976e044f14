/**
 * Reading a blob. A blob that is not what its name says is refused. It is
 * hashed while it is read; another thread hashes a big blob, so that on two
 * processors this takes no longer than reading alone.
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
  /** As `fileChunks`. */
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
  const hashing = check ? await hash(file) : undefined;
  // The reader may fail first, and never call `verify`.
  hashing?.digest.catch(() => {});
  return {
    chunks: () => fileChunks(file),
    async verify() {
      const digest = await hashing?.digest;
      if (digest === undefined) return;
      const found = `sha512-${digest}`;
      if (blobKey(found) !== key) throw damaged(key, `its blob has the hash ${shortId(found)}`);
    },
    async close() {
      await hashing?.stop();
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

interface Hashing {
  /** Hexadecimal. */
  digest: Promise<string>;
  stop(): Promise<unknown>;
}

/** A smaller blob is hashed in less time than a thread takes to start. */
const THREAD_BYTES = 8 * 1024 ** 2;
const CHUNK = 1024 * 1024;

async function hash({ fd }: FileHandle): Promise<Hashing> {
  if (fstatSync(fd).size >= THREAD_BYTES) return inThread(fd);
  const hash = createHash("sha512");
  const buffer = Buffer.allocUnsafe(CHUNK);
  let position = 0;
  for (let n = readSync(fd, buffer, 0, CHUNK, position); n > 0; n = readSync(fd, buffer, 0, CHUNK, position)) {
    hash.update(buffer.subarray(0, n));
    position += n;
  }
  return { digest: Promise.resolve(hash.digest("hex")), stop: async () => {} };
}

/** The thread reads the same open file, because it has its process's descriptors. */
async function inThread(fd: number): Promise<Hashing> {
  const { Worker } = await import("node:worker_threads");
  const worker: Worker = new Worker(THREAD, { eval: true, workerData: { fd, chunk: CHUNK } });
  const digest = new Promise<string>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", () => reject(new Error("the thread that hashes a blob has ended")));
  });
  return { digest, stop: () => worker.terminate() };
}

const THREAD = `
const { createHash } = require("node:crypto");
const { readSync } = require("node:fs");
const { parentPort, workerData: { fd, chunk } } = require("node:worker_threads");
const hash = createHash("sha512");
const buffer = Buffer.allocUnsafeSlow(chunk);
for (let position = 0, n; (n = readSync(fd, buffer, 0, chunk, position)) > 0; position += n) hash.update(buffer.subarray(0, n));
parentPort.postMessage(hash.digest("hex"));
`;
