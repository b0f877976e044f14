import { errorText, RktError } from "../../shared/errors.ts";
import { execve } from "../../shared/exec.ts";
import { type Command, readLine } from "../cli/command.ts";
import { whenRunning } from "../container/entrypoint.ts";
import { readManifest } from "../container/inspect.ts";
import { readWhereItIs } from "../container/lifecycle.ts";
import { chooseApp, selectContainer, uuidFileOption } from "../container/select.ts";

const options = {
  app: { type: "string", value: "NAME", description: "the app to enter; needed when there are several" },
  imageid: { type: "string", value: "HASH", description: "the app of this image" },
  ...uuidFileOption,
} as const;

/** Milliseconds that a container which is about to run is waited for. */
const START_TIME = 60_000;

const DEFAULT_COMMAND = "/bin/sh";

export const command: Command = {
  usage: "enter [options] UUID [COMMAND [ARGUMENT...]]",
  description:
    "Runs a command, or a shell, in an app of a running container: in its namespaces, root, environment, user and cgroup. Everything that is denied to the app is also denied to the command. If the container is starting, `rkt enter` waits until it runs. The exit status is the command's. Standard input that the command does not read is left for the next program.",
  examples: [
    ["rkt enter 6ba7b810", "a shell in the one app"],
    ["rkt enter --app=db 6ba7b810 /usr/bin/psql -l", "a command in one of several apps"],
  ],
  options,
  operands: [0, 1],
  grammar: "command",
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = readLine(line, options);
    const uuidFile = given["uuid-file"];
    const passedOn = line.operands[0]?.arguments ?? [];
    // With --uuid-file, the command is the first operand.
    const ref = selectContainer(globals.dir, uuidFile === undefined ? operands : [], uuidFile);
    const argv = uuidFile === undefined ? passedOn : [...operands, ...passedOn];
    const { name: app } = chooseApp(
      readWhereItIs(globals.dir, ref, ({ dir }) => readManifest(dir)),
      given.app,
      given.imageid,
    );
    const { pid, directory, path, env } = await whenRunning(ref, "enter", Date.now() + START_TIME);
    try {
      process.chdir(`/proc/self/fd/${directory}`);
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
