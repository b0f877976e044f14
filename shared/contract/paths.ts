/**
 * Paths of the contract between the stages. `shared/contract/` has every path,
 * file name, environment variable and annotation key that two programs agree
 * on; no other file spells one. Pure: no I/O.
 *
 * Two views of the same files exist and must not be mixed: `HostPath` is a
 * path as a host process sees it, `Stage1Path` as a process inside the
 * container's stage1 root does. They are branded, so mixing them fails to
 * compile.
 */

declare const hostBrand: unique symbol;
declare const stage1Brand: unique symbol;

export type HostPath = string & { readonly [hostBrand]: true };
export type Stage1Path = string & { readonly [stage1Brand]: true };

export const hostPath = (path: string): HostPath => path as HostPath;
export const stage1Path = (path: string): Stage1Path => path as Stage1Path;
export const join = (base: string, ...parts: string[]): HostPath => hostPath([base.replace(/\/+$/, ""), ...parts].join("/"));
