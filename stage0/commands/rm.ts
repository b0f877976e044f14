import { RktError } from "../../shared/errors.ts";
import type { Command } from "../command.ts";
import { findContainer, phaseOf } from "../container/lifecycle.ts";
import { tryLock } from "../container/lock.ts";
import { discard } from "../container/remove.ts";

export const command: Command = {
  usage: "rm UUID...",
  description: "Removes containers that no longer run, or never did. A UUID may be shortened.",
  examples: [["rkt rm 5bc080ca", "remove the one container whose UUID begins so"]],
  options: {},
  operands: [1, Number.POSITIVE_INFINITY],
  needsRoot: true,
  async run(line, globals) {
    for (const { text } of line.operands) removeContainer(globals.dir, text);
  },
};

function removeContainer(data: string, uuid: string): void {
  for (;;) {
    const container = findContainer(data, uuid);
    const lock = tryLock(container.dir);
    if (lock === "busy")
      throw new RktError("busy", `container ${container.uuid} is ${phaseOf(container.state, true)}`, {
        hint: container.state === "run" ? `stop it first: rkt stop ${container.uuid}` : undefined,
      });
    // It has moved to another state meanwhile, or is removed by somebody else.
    if (lock === "gone") continue;
    discard(data, { ...container, lock });
    return;
  }
}
