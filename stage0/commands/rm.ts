import { errorText, RktError } from "../../shared/errors.ts";
import { type Command, readLine } from "../cli/command.ts";
import { removeContainer } from "../container/collect.ts";
import { refuseOtherLayout } from "../container/inspect.ts";
import { findContainer, phaseOf } from "../container/lifecycle.ts";
import { tryLock } from "../container/lock.ts";
import { forEachContainer, selectContainers, uuidFileOption } from "../container/select.ts";
import { say } from "../terminal/output.ts";

const options = {
  force: { type: "boolean", description: "remove it even if its networks or other resources cannot be released" },
  ...uuidFileOption,
} as const;

export const command: Command = {
  usage: "rm [options] UUID...",
  description: "Removes containers that no longer run, or never did. A UUID may be shortened.",
  examples: [["rkt rm 5bc080ca", "remove the one container whose UUID begins so"]],
  options,
  operands: [0, Number.POSITIVE_INFINITY],
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = readLine(line, options);
    const containers = selectContainers(globals.dir, operands, given["uuid-file"]);
    await forEachContainer(containers, async ({ uuid }) => remove(globals.dir, uuid, given.force));
  },
};

function remove(data: string, uuid: string, force: boolean): void {
  for (;;) {
    const container = findContainer(data, uuid);
    const lock = tryLock(container.dir);
    if (lock === "busy")
      throw new RktError("busy", `container ${container.uuid} is ${phaseOf(container.state, true)}`, {
        hint: container.state === "run" ? `stop it first: rkt stop ${container.uuid}` : undefined,
      });
    // It has moved to another state meanwhile, or another process has removed it.
    if (lock === "gone") continue;
    try {
      refuseOtherLayout(container);
      const told = (error: unknown) => say(errorText(error));
      removeContainer(data, { ...container, lock }, { force: force ? told : undefined });
    } finally {
      lock.close();
    }
    return;
  }
}
