/**
 * The paths that an archive has had, in 16 bytes each, however long they are:
 * names of 4 KiB, which compress to nothing, must not fill the memory. The set
 * keeps a digest of each path, under a random key. Nobody who makes an archive
 * knows the key, so nobody can make two paths of one digest, or many paths for
 * one place of the table.
 */

import { hash, randomBytes } from "node:crypto";

/** 32-bit words of a digest that are kept. */
const WORDS = 4;

export class PathSet {
  readonly #key = randomBytes(16).toString("hex");
  #slots = 1024;
  #table = new Uint32Array(this.#slots * WORDS);
  #size = 0;

  /** Returns false when the path was there already. */
  add(path: string): boolean {
    const digest = this.#digest(path);
    const at = this.#find(digest);
    if (this.#table[at] !== 0) return false;
    this.#table.set(digest, at);
    this.#size++;
    if (this.#size * 4 > this.#slots * 3) this.#grow();
    return true;
  }

  has(path: string): boolean {
    return this.#table[this.#find(this.#digest(path))] !== 0;
  }

  #digest(path: string): Uint32Array {
    const bytes = hash("sha256", this.#key + path, "buffer");
    const digest = new Uint32Array(WORDS);
    for (let i = 0; i < WORDS; i++) digest[i] = bytes.readUInt32LE(i * 4);
    // A first word of 0 marks an empty slot.
    digest[0] = (digest[0] ?? 0) || 1;
    return digest;
  }

  /** The index of the digest, or of the empty slot where it belongs. */
  #find(digest: Uint32Array): number {
    const table = this.#table;
    for (let slot = (digest[0] ?? 0) & (this.#slots - 1); ; slot = (slot + 1) & (this.#slots - 1)) {
      const at = slot * WORDS;
      if (table[at] === 0) return at;
      let word = 0;
      while (word < WORDS && table[at + word] === digest[word]) word++;
      if (word === WORDS) return at;
    }
  }

  #grow(): void {
    const old = this.#table;
    this.#slots *= 2;
    this.#table = new Uint32Array(this.#slots * WORDS);
    for (let at = 0; at < old.length; at += WORDS) {
      if (old[at] === 0) continue;
      const digest = old.subarray(at, at + WORDS);
      this.#table.set(digest, this.#find(digest));
    }
  }
}
