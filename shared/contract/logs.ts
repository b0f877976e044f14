/** The files and the lines of an app's log (ADR 4): `relay` of the stage1 image writes them, stage 0 reads them. */

/** The output streams of an app, as its log calls them. */
export type Stream = "stdout" | "stderr";

/** What follows the app's name in the name of a stream's FIFO and of its log. */
export const STREAM_SUFFIX: Readonly<Record<Stream, string>> = { stdout: ".out", stderr: ".err" };

/** What follows the name of a log in that of the file before it. */
export const LOG_BEFORE = ".1";

/** A line is `TIME STREAM MARK TEXT`: after the text the app wrote a newline, or it did not, yet. */
export const LOG_MARK = { whole: "F", part: "P" } as const;
