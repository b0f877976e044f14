import { existsSync } from "node:fs";
import { callersEnvironment } from "../../shared/callers-environment.ts";
import { RktError } from "../../shared/errors.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { shortId } from "../../shared/contract/image-ids.ts";
import { type Command, readLine } from "../cli/command.ts";
import { readManifest, readTrees, requireLayout } from "../container/inspect.ts";
import { type ContainerRef, phase } from "../container/lifecycle.ts";
import { tryLock } from "../container/lock.ts";
import { selectContainer, uuidFileOption } from "../container/select.ts";
import { collector } from "../host/this-program.ts";

const options = {
  rm: { type: "boolean", description: "remove the container when it ends" },
  ...uuidFileOption,
} as const;

export const command: Command = {
  usage: "run-prepared [options] UUID",
  description: "Runs a container that `rkt prepare` has set up. A container runs once.",
  examples: [["rkt run-prepared 6ba7b810", "run the container whose UUID begins so"]],
  options,
  operands: [0, 1],
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = await readLine(line, options);
    const ref = selectContainer(globals.dir, operands, given["uuid-file"]);
    const lock = ref.state === "prepared" ? tryLock(ref.dir) : "gone";
    if (typeof lock !== "object")
      throw new RktError(
        "not-prepared",
        `container ${ref.uuid} is not waiting to run: it is ${lock === "busy" ? "being started or removed" : (phase(ref) ?? "gone")}`,
        { hint: "`rkt list` shows the containers and their states" },
      );
    requireRunnable(globals.dir, ref);
    const { launchContainer } = await import("../container/launch.ts");
    launchContainer(
      { ...ref, lock },
      {
        data: globals.dir,
        env: callersEnvironment(),
        collect: given.rm ? collector(globals.dir, ref.uuid) : undefined,
      },
    );
  },
};

/** A container that can't run stays prepared, for its owner to look at. */
function requireRunnable(data: string, { uuid, dir }: ContainerRef): void {
  requireLayout(uuid, readManifest(dir));
  const { stage1, apps } = readTrees(dir);
  for (const { image, tree } of [stage1, ...Object.values(apps)])
    if (!existsSync(dataLayout(data).treeManifest(tree)))
      throw new RktError("no-such-image", `container ${uuid} can't run: image ${shortId(image)} has been removed`, {
        hint: `fetch it, prepare a container anew, and remove this one: rkt rm ${uuid.slice(0, 8)}`,
      });
}
