/**
 * The file mode mask of rkt's caller. rkt itself works with a mask of 022: with 000 others could write to files that
 * root trusts, and with 077 an app that is not root could not enter its own root. The caller's mask is applied only to
 * files that the caller names, such as an output file. This is the first import of main.ts.
 */

const callers = process.umask(0o022);

/** The mode for a file that the caller names. */
export const callersMode = (mode: number): number => mode & ~callers;
