/** The check of one image's signature, as a fetch uses it: fed with the file while that is downloaded. */

export interface SignatureCheck {
  update(chunk: Uint8Array): void;
  /** The signature, as soon as it is there: from then on only the digests that it needs are made. */
  expect?(signature: Uint8Array): Promise<void>;
  /** Throws, with the reason, unless a key trusted for `imageName` made the signature over what was fed. */
  finish(signature: Uint8Array, imageName: string): Promise<Verdict>;
}

export interface Verdict {
  /** The signing key's identities. */
  identities: string[];
}
