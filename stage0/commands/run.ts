import { callersEnvironment } from "../../shared/callers-environment.ts";
import { passedSockets } from "../../shared/passed-sockets.ts";
import type { Command } from "../cli/command.ts";
import { collector } from "../host/this-program.ts";
import { runOptions } from "../request/run-options.ts";
import { readRunLine } from "../request/run-line.ts";
import { noteReporter } from "../terminal/output.ts";

export const command: Command = {
  usage: "run [options] IMAGE [image options] [-- arguments] [--- IMAGE ...]",
  description: `Runs the apps of one or more images in a new container, until all of them have ended or one has failed. The exit status is that of the app, or of the first app that failed.

IMAGE is a file, a hash or the beginning of one, a URL, or a name with labels: coreos.com/etcd:v2.0.0,arch=amd64; or an OCI image: docker://nginx:1.25, oci:DIRECTORY, oci-archive:FILE, docker-archive:FILE.

Options after an image are for that image. "--" begins the arguments of its app, and "---" ends them if another image follows. An app has the last part of its image's name, or the name that --name gives it.`,
  examples: [
    ["rkt run etcd.aci -- -name infra0", "run etcd, with arguments"],
    ["rkt run --volume data:/srv/db redis.aci", "give the mount point data a directory"],
    ["rkt run --rm --interactive busybox.aci --exec=/bin/sh", "a shell, and nothing stays behind"],
    ["rkt run web.aci --name=one -- -p 80 --- web.aci --name=two -- -p 81", "the same image twice"],
  ],
  options: runOptions,
  operands: [0, Number.POSITIVE_INFINITY],
  grammar: "images",
  needsRoot: true,
  async run(line, globals) {
    const { request, rm } = readRunLine(line);
    const sockets = passedSockets(callersEnvironment());
    const { setUpContainer } = await import("../request/set-up.ts");
    const container = await setUpContainer(request, globals, {
      durable: false,
      sockets,
      reporter: noteReporter(globals),
    });
    const { launchContainer } = await import("../container/launch.ts");
    launchContainer(container, {
      data: globals.dir,
      env: callersEnvironment(),
      sockets,
      collect: rm ? collector(globals.dir, container.uuid) : undefined,
    });
  },
};
