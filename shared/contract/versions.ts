/** Versions of the contract. A stage refuses a version that it does not know. */

/** Stage 0 writes this version into every container; the other stages refuse another one. A change needs an ADR. */
export const LAYOUT_VERSION = "1";

/** Version of the interface between stage 0 and the entrypoints of a stage1 image. */
export const STAGE1_INTERFACE_VERSION = "1";
