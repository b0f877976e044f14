import { randomUUID } from "node:crypto";

/**
 * An unpredictable name beside `path`, for a file that will replace it. The caller must still create it exclusively
 * (O_EXCL).
 */
export const beside = (path: string, suffix = "tmp"): string => `${path}.${randomUUID()}.${suffix}`;
