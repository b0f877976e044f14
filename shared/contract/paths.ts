/**
 * Paths of the contract between the stages. `shared/contract/` has every path,
 * file name, environment variable and annotation key that two programs agree
 * on; no other file spells one. Pure: no I/O.
 *
 * A file has two paths, which must not be mixed: a `HostPath` is for processes on the host, a `Stage1Path` for
 * processes in the container's stage1 root. The types are branded, so that a mix does not compile.
 */

declare const hostBrand: unique symbol;
declare const stage1Brand: unique symbol;

export type HostPath = string & { readonly [hostBrand]: true };
export type Stage1Path = string & { readonly [stage1Brand]: true };

export const hostPath = (path: string): HostPath => path as HostPath;
export const stage1Path = (path: string): Stage1Path => path as Stage1Path;
export const join = (base: string, ...parts: string[]): HostPath => hostPath([base.replace(/\/+$/, ""), ...parts].join("/"));
