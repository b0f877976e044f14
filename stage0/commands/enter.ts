import { errorText, RktError, usageError } from "../../shared/errors.ts";
import { execve } from "../../shared/exec.ts";
import { shortId } from "../../shared/layout.ts";
import type { PodManifest } from "../../shared/schema/types.ts";
import { type Command, readLine } from "../command.ts";
import { runningEntrypoint } from "../container/entrypoint.ts";
import { readManifest } from "../container/inspect.ts";
import { selectContainer, uuidFileOption } from "../container/select.ts";

const options = {
  app: { type: "string", value: "NAME", description: "the app to enter; needed when there are several" },
  imageid: { type: "string", value: "HASH", description: "the app of this image" },
  ...uuidFileOption,
} as const;

const DEFAULT_COMMAND = "/bin/sh";

export const command: Command = {
  usage: "enter [options] UUID [COMMAND [ARGUMENT...]]",
  description:
    "Runs a command in an app of a running container: its namespaces, root, environment, user and cgroup, and what the app is denied the command is denied too. Without a command, a shell. The exit status is the command's.",
  examples: [
    ["rkt enter 6ba7b810", "a shell in the one app"],
    ["rkt enter --app=db 6ba7b810 /usr/bin/psql -l", "a command in one of several apps"],
  ],
  options,
  operands: [0, 1],
  grammar: "command",
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = await readLine(line, options);
    const uuidFile = given["uuid-file"];
    const passedOn = line.operands[0]?.arguments ?? [];
    // With the UUID from a file, the command itself is the operand.
    const ref = selectContainer(globals.dir, uuidFile === undefined ? operands : [], uuidFile);
    const argv = uuidFile === undefined ? passedOn : [...operands, ...passedOn];
    const app = chooseApp(readManifest(ref.dir), given.app, given.imageid);
    const { pid, cwd, path, env } = runningEntrypoint(ref, "enter");
    try {
      process.chdir(cwd);
      execve(
        path,
        [path, `--pid=${pid}`, `--app=${app}`, "--", ...(argv.length === 0 ? [DEFAULT_COMMAND] : argv)],
        env,
      );
    } catch (error) {
      throw new RktError("enter-failed", `cannot enter container ${ref.uuid}: ${errorText(error)}`, { cause: error });
    }
  },
};

function chooseApp(manifest: PodManifest, name: string | undefined, imageId: string | undefined): string {
  const matching = manifest.apps.filter(
    (app) => (name === undefined || app.name === name) && (imageId === undefined || app.image.id.startsWith(imageId)),
  );
  const [app, second] = matching;
  const there = manifest.apps.map((one) => `${one.name} (${shortId(one.image.id)})`).join(", ");
  if (app === undefined)
    throw new RktError("no-such-app", `the container has no app ${name ?? imageId}`, { hint: `there are: ${there}` });
  if (second !== undefined) throw usageError("the container has several apps", `choose one with --app: ${there}`);
  return app.name;
}
