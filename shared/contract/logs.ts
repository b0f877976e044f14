/** The files and the lines of an app's log (ADR 4): `relay` of the stage1 image writes them, stage 0 reads them. */

/** The output streams of an app, as its log calls them. */
export type Stream = "stdout" | "stderr";

/** Suffix after the app's name, in the names of a stream's FIFO and of its log. */
export const STREAM_SUFFIX: Readonly<Record<Stream, string>> = { stdout: ".out", stderr: ".err" };

/** Suffix of the older of a log's two files. */
export const LOG_BEFORE = ".1";

/** A line is `TIME STREAM MARK TEXT`. The mark says whether the app wrote a newline after the text. */
export const LOG_MARK = { whole: "F", part: "P" } as const;
