/** Environment variables by which one program tells the next what it inherits. */

/** Prefix of all of them. */
export const ENV_PREFIX = "RKT_";

/** Number of the inherited descriptor that holds the container's lock. */
export const ENV_LOCK_FD = "RKT_LOCK_FD";

/** Number of the inherited descriptor that holds the lock on the container's user ids, if it has its own users. */
export const ENV_USERS_FD = "RKT_USERS_FD";

/** For the entrypoint `stop`: the seconds that `rkt stop --time` gives each app. An older stage1 ignores it. */
export const ENV_STOP_TIME = "RKT_STOP_TIME";

/**
 * Descriptors that `launcher APP enter` inherits, numbers joined by ",": the app's mount namespace, then the files
 * `cgroup.procs` of the app's cgroups.
 */
export const ENV_ENTER_FDS = "RKT_ENTER_FDS";

/**
 * For fly: descriptors by which the launcher asks for the caller's input, numbers joined by ",": one to write to, and
 * the terminal that the app can have, if rkt runs at one (`/usr/lib/rkt/streams`).
 */
export const ENV_STREAMS_FDS = "RKT_STREAMS_FDS";
