/** Shortened image IDs: the store's keys, and the form that users see. */

/** Hex digits of a blob's key: the first 256 bits of the SHA-512. */
export const KEY_DIGITS = 64;

/** Hex digits that rkt prints, and uses in the names of apps' directories. */
export const SHORT_DIGITS = 32;

/** The store's key (`sha512-` and 64 hex digits) of a full image ID. */
export const blobKey = (imageId: string): string => imageId.slice(0, "sha512-".length + KEY_DIGITS);

/** The form that users see: `sha512-` and 32 hex digits. */
export const shortId = (imageId: string): string => imageId.slice(0, "sha512-".length + SHORT_DIGITS);
