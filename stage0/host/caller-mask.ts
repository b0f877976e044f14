/**
 * The file mode mask of whoever called rkt. All files have the modes that this
 * project gives them, under a mask of 022: with the caller's 000 others could
 * write to what root trusts, and with 077 an app that is not root could not
 * enter its own root. A file that the caller asked for by name has no bit that
 * the caller's mask takes away. The first import of main.ts.
 */

const callers = process.umask(0o022);

/** The mode to make such a file with. */
export const callersMode = (mode: number): number => mode & ~callers;
