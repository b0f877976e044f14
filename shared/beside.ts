import { randomUUID } from "node:crypto";

/** A name beside `path` that nobody can foresee, for what is to take its place. Still to be made exclusively. */
export const beside = (path: string, suffix = "tmp"): string => `${path}.${randomUUID()}.${suffix}`;
