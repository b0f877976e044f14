/** The commands, in the order of the help. A command's module is loaded only when the command is run. */

import type { CommandEntry, CommandTable } from "./cli/command.ts";

const commands: readonly CommandEntry[] = [
  {
    name: "run",
    summary: "run images in a new container",
    load: () => import("./commands/run.ts"),
  },
  {
    name: "fetch",
    summary: "bring images into the local store",
    load: () => import("./commands/fetch.ts"),
  },
  {
    name: "trust",
    summary: "let public keys sign images",
    load: () => import("./commands/trust.ts"),
  },
  {
    name: "list",
    summary: "list the containers",
    load: () => import("./commands/list.ts"),
  },
  {
    name: "status",
    summary: "say what state a container is in",
    load: () => import("./commands/status.ts"),
  },
  {
    name: "enter",
    summary: "run a command in an app of a running container",
    load: () => import("./commands/enter.ts"),
  },
  {
    name: "logs",
    summary: "print what a container's apps have written",
    load: () => import("./commands/logs.ts"),
  },
  {
    name: "top",
    alias: "stats",
    summary: "show what running containers use",
    load: () => import("./commands/top.ts"),
  },
  {
    name: "stop",
    summary: "stop running containers",
    load: () => import("./commands/stop.ts"),
  },
  {
    name: "prepare",
    summary: "set a container up without running it",
    load: () => import("./commands/prepare.ts"),
  },
  {
    name: "run-prepared",
    summary: "run a prepared container",
    load: () => import("./commands/run-prepared.ts"),
  },
  {
    name: "cat-manifest",
    summary: "print a container's manifest",
    load: () => import("./commands/cat-manifest.ts"),
  },
  {
    name: "export",
    summary: "make an image of an app's file system",
    load: () => import("./commands/export.ts"),
  },
  {
    name: "gc",
    summary: "remove containers that have ended",
    load: () => import("./commands/gc.ts"),
  },
  {
    name: "rm",
    summary: "remove containers that no longer run",
    load: () => import("./commands/rm.ts"),
  },
  {
    name: "image list",
    summary: "list the images in the store",
    load: () => import("./commands/image-list.ts"),
  },
  {
    name: "image cat-manifest",
    summary: "print an image's manifest",
    load: () => import("./commands/image-cat-manifest.ts"),
  },
  {
    name: "image rm",
    summary: "remove images from the store",
    load: () => import("./commands/image-rm.ts"),
  },
  {
    name: "image export",
    summary: "write an image to a file",
    load: () => import("./commands/image-export.ts"),
  },
  {
    name: "image extract",
    summary: "make a directory of what an image has",
    load: () => import("./commands/image-extract.ts"),
  },
  {
    name: "image render",
    summary: "make a directory of an image and all it depends on",
    load: () => import("./commands/image-render.ts"),
  },
  {
    name: "image verify",
    summary: "check that stored images are what they were",
    load: () => import("./commands/image-verify.ts"),
  },
  {
    name: "image gc",
    summary: "remove images that nobody uses",
    load: () => import("./commands/image-gc.ts"),
  },
  {
    name: "image build",
    summary: "make an image from a directory and a manifest",
    load: () => import("./commands/image-build.ts"),
  },
  {
    name: "config",
    summary: "print the configuration in effect",
    load: () => import("./commands/config.ts"),
  },
  {
    name: "metadata-service",
    summary: "serve the metadata of running containers to their apps",
    load: () => import("./commands/metadata-service.ts"),
  },
  {
    name: "version",
    summary: "print the versions of rkt and of the specification",
    load: () => import("./commands/version.ts"),
  },
  {
    name: "help",
    summary: "show what a command does and takes",
    load: () => import("./commands/help.ts"),
  },
];

/** Descriptions of the groups of commands. */
const groups: Readonly<Record<string, string>> = { image: "Works with the images in the store." };

export const commandTable: CommandTable = { commands, groups };
