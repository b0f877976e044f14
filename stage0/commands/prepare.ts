import type { Command } from "../cli/command.ts";
import { noteReporter, print } from "../terminal/output.ts";
import { runOptions } from "../request/run-options.ts";
import { readRunLine } from "../request/run-line.ts";

const { rm: _rm, ...options } = runOptions;

export const command: Command = {
  usage: "prepare [options] IMAGE [image options] [-- arguments] [--- IMAGE ...]",
  description:
    "Sets a container up as `rkt run` would, and leaves it for `rkt run-prepared`. Prints its UUID. The prepared container is on disk, and survives a reboot.",
  examples: [
    ["rkt prepare etcd.aci", "print the UUID of a container that is ready to run"],
    ["rkt run-prepared 6ba7b810", "run it"],
  ],
  options,
  operands: [0, Number.POSITIVE_INFINITY],
  grammar: "images",
  needsRoot: true,
  async run(line, globals) {
    const { request } = readRunLine(line);
    const { setUpContainer } = await import("../request/set-up.ts");
    const container = await setUpContainer(request, globals, {
      durable: true,
      sockets: [],
      reporter: noteReporter(globals),
    });
    container.lock.close();
    print(`${container.uuid}\n`);
  },
};
