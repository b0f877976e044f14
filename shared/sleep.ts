const never = new Int32Array(new SharedArrayBuffer(4));

/** Holds this thread up for so many milliseconds: for code that has to stay synchronous. */
export function sleep(milliseconds: number): void {
  Atomics.wait(never, 0, 0, milliseconds);
}
