/** Checks one image's signature. A fetch gives it the file's bytes while it downloads them. */
export interface SignatureCheck {
  update(chunk: Uint8Array): void;
  /** Passes the signature early, if it comes before the bytes: then only the digests that it needs are computed. */
  expect?(signature: Uint8Array): Promise<void>;
  /** Throws with the reason, unless a key that is trusted for `imageName` has signed these bytes. */
  finish(signature: Uint8Array, imageName: string): Promise<Verdict>;
}

export interface Verdict {
  /** The signing key's identities. */
  identities: string[];
}
