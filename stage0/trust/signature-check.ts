/** The check of one image's signature, as a fetch uses it: it gets the file's bytes while they are downloaded. */
export interface SignatureCheck {
  update(chunk: Uint8Array): void;
  /** Tells the signature as soon as it is there: from then on only the digests that it needs are computed. */
  expect?(signature: Uint8Array): Promise<void>;
  /** Throws with the reason, unless a key that is trusted for `imageName` has signed these bytes. */
  finish(signature: Uint8Array, imageName: string): Promise<Verdict>;
}

export interface Verdict {
  /** The signing key's identities. */
  identities: string[];
}
