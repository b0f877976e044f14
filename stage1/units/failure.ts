import type { UnitOption } from "systemd-unit-writer";
import { LAUNCH_EXIT } from "../../shared/contract/stage1-root.ts";

/**
 * Every unit of a container has this: when the unit fails, the container ends. Its status is the first failure that
 * `record` has written down. It is this one if `record` could not write: an app may have killed it, or used up what
 * systemd needs to start it.
 */
export const FAILURE: readonly UnitOption[] = [
  ["Unit", "FailureAction", "exit"],
  ["Unit", "FailureActionExitStatus", String(LAUNCH_EXIT.internal)],
];
