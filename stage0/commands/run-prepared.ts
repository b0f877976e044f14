import { existsSync, readFileSync } from "node:fs";
import { callersEnvironment } from "../../shared/callers-environment.ts";
import { RktError } from "../../shared/errors.ts";
import { ANNOTATIONS } from "../../shared/contract/annotations.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { shortId } from "../../shared/contract/image-ids.ts";
import { passedSockets } from "../../shared/passed-sockets.ts";
import { annotation, parseImageManifest } from "../../shared/schema/image-manifest.ts";
import type { PodManifest } from "../../shared/schema/types.ts";
import { type Command, readLine } from "../cli/command.ts";
import { readManifest, readTrees, requireLayout } from "../container/inspect.ts";
import { type ContainerRef, phase } from "../container/lifecycle.ts";
import { tryLock } from "../container/lock.ts";
import { requirePassable } from "../container/sockets.ts";
import { selectContainer, uuidFileOption } from "../container/select.ts";
import type { GlobalOptions } from "../cli/globals.ts";
import { collector } from "../host/this-program.ts";
import { launchOptions } from "../request/run-options.ts";
import { type LaunchLine, readLaunchLine } from "../request/run-line.ts";
import { noteReporter } from "../terminal/output.ts";

const options = {
  ...launchOptions,
  rm: { type: "boolean", description: "remove the container when it ends" },
  ...uuidFileOption,
} as const;

export const command: Command = {
  usage: "run-prepared [options] UUID",
  description:
    "Runs a container that `rkt prepare` has set up. A container runs only once.\n\nOptions for the network, names and the terminal replace those of `rkt prepare`.",
  examples: [
    ["rkt run-prepared 6ba7b810", "run the container whose UUID begins so"],
    ["rkt run-prepared --net --hostname=db --interactive 6ba7b810", "with options that replace those of rkt prepare"],
  ],
  options,
  operands: [0, 1],
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = readLine(line, options);
    const ref = selectContainer(globals.dir, operands, given["uuid-file"]);
    const lock = ref.state === "prepared" ? tryLock(ref.dir) : "gone";
    if (typeof lock !== "object")
      throw new RktError(
        "not-prepared",
        `container ${ref.uuid} is not waiting to run: it is ${lock === "busy" ? "being started or removed" : (phase(ref) ?? "gone")}`,
        { hint: "`rkt list` shows the containers and their states" },
      );
    const manifest = requireRunnable(globals.dir, ref);
    const asked = readLaunchLine(line);
    const sockets = passedSockets(callersEnvironment());
    if (sockets.length > 0)
      requirePassable(sockets, manifest, parseImageManifest(readFileSync(containerLayout(ref.dir).stage1Manifest, "utf8")));
    const { launchContainer } = await import("../container/launch.ts");
    launchContainer(
      { ...ref, lock },
      {
        data: globals.dir,
        env: callersEnvironment(),
        sockets,
        manifest: asked === undefined ? undefined : await changed(manifest, asked, globals),
        collect: given.rm ? collector(globals.dir, ref.uuid) : undefined,
      },
    );
  },
};

/** Checks that a container can run. If it can't, it stays prepared, so that the user can look at it. */
function requireRunnable(data: string, { uuid, dir }: ContainerRef): PodManifest {
  const manifest = readManifest(dir);
  requireLayout(uuid, manifest);
  const { stage1, apps } = readTrees(dir);
  for (const { image, tree } of [stage1, ...Object.values(apps)])
    if (!existsSync(dataLayout(data).treeManifest(tree)))
      throw new RktError("no-such-image", `container ${uuid} can't run: image ${shortId(image)} has been removed`, {
        hint: `fetch it, prepare a container anew, and remove this one: rkt rm ${uuid.slice(0, 8)}`,
      });
  return manifest;
}

/** The manifest, changed by the options. A change of the network changes the URL of the metadata service, too. */
async function changed(prepared: PodManifest, { request, metadataService }: LaunchLine, globals: GlobalOptions): Promise<PodManifest> {
  const { chosenAtLaunch } = await import("../request/manifest.ts");
  const value = (name: string) => annotation(prepared.annotations, name);
  const network = request.network ?? value(ANNOTATIONS.network) ?? "host";
  const registers = metadataService.register !== undefined || metadataService.spawn;
  const moves = request.network !== undefined && value(ANNOTATIONS.metadataUrl) !== undefined;
  let url: string | undefined;
  if (registers || moves) {
    const { metadataUrl } = await import("../request/metadata-url.ts");
    url = (await metadataUrl(metadataService, network, globals, noteReporter(globals))) ?? "";
  }
  return chosenAtLaunch(prepared, request, url);
}
