/** How much of an image's ID is a key of the store, and how much a person sees. */

/** Hex digits of a blob's key: the first 256 bits of the SHA-512. */
export const KEY_DIGITS = 64;

/** Hex digits rkt prints, and uses for the seed's directory names. */
export const SHORT_DIGITS = 32;

/** The store's key (`sha512-` and 64 hex digits) of a full image ID. */
export const blobKey = (imageId: string): string => imageId.slice(0, "sha512-".length + KEY_DIGITS);

/** What a person sees: `sha512-` and 32 hex digits. */
export const shortId = (imageId: string): string => imageId.slice(0, "sha512-".length + SHORT_DIGITS);
