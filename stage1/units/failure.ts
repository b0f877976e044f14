/** What every unit of a container says of its own failure. */

import type { UnitOption } from "systemd-unit-writer";
import { LAUNCH_EXIT } from "../../shared/contract/stage1-root.ts";

/**
 * The container ends. Its status is the first failure that `record` has written down; this one where `record` itself
 * could not: an app may have killed it, or taken from systemd what it needs.
 */
export const FAILURE: readonly UnitOption[] = [
  ["Unit", "FailureAction", "exit"],
  ["Unit", "FailureActionExitStatus", String(LAUNCH_EXIT.internal)],
];
