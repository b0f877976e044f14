/** Names of the units of a container's systemd: TypeScript writes them, and scripts of the stage1 image look for them. */

/** The name of an app's service has these before and after the app's name. */
export const APP_UNIT = { prefix: "app-", suffix: ".service" } as const;

export const appUnit = (app: string): string => `${APP_UNIT.prefix}${app}${APP_UNIT.suffix}`;

/** The target that is active while the container lives. */
export const ALIVE_UNIT = "rkt-alive.target";

/** The cgroup of all apps, below the cgroup of the container's systemd. */
export const APPS_SLICE = "system.slice";

/** The cgroup of one app, below the cgroup of the container's systemd. */
export const appUnitCgroup = (app: string): string => `${APPS_SLICE}/${appUnit(app)}`;
