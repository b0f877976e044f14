/** Environment variables by which one program tells the next what it has inherited. */

/** What all of them begin with. */
export const ENV_PREFIX = "RKT_";

/** Number of the inherited descriptor that holds the container's lock. */
export const ENV_LOCK_FD = "RKT_LOCK_FD";

/** Number of the inherited descriptor that holds the container's user ids; only with users of its own. */
export const ENV_USERS_FD = "RKT_USERS_FD";

/** Seconds that `rkt stop --time` gives each app, in the environment of the entrypoint `stop`: one that does not know it ignores it. */
export const ENV_STOP_TIME = "RKT_STOP_TIME";

/**
 * Descriptors that `launcher APP enter` works with, numbers by commas: the app's mount namespace, then files
 * `cgroup.procs` of the app's cgroups.
 */
export const ENV_ENTER_FDS = "RKT_ENTER_FDS";

/**
 * Descriptors by which the launcher of an app on the host asks for the caller's input, numbers by commas: one to write to,
 * and the terminal that the app can have, if rkt is at one (`/usr/lib/rkt/streams`).
 */
export const ENV_STREAMS_FDS = "RKT_STREAMS_FDS";
