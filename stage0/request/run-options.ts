/**
 * The options of `run` and `prepare`. A container's options may stand anywhere, an image's must follow the image.
 */

import { pullOptions } from "./pull-options.ts";
import type { OptionTable } from "../cli/words.ts";

const images = "Images";
const files = "Volumes and mounts";
const variables = "Environment";
const network = "Network";
const container = "Container";
const app = "Options of the image before them";

/** Options of a container's start: `run-prepared` has them, too. */
export const launchOptions = {
  net: {
    type: "string",
    array: true,
    exclusive: "networks",
    bare: "default",
    value: "NETWORK,...",
    description:
      "networks of the container; host shares the host's, none has loopback only, all is every configured one; NETWORK:KEY=VALUE;... gives arguments to its plugins",
    group: network,
  },
  "private-net": {
    type: "string",
    array: true,
    exclusive: "networks",
    bare: "default",
    description: "the older name of --net",
    group: network,
    hidden: true,
  },
  dns: {
    type: "string",
    array: true,
    value: "IP",
    description: "name server; host takes over the host's resolv.conf, none makes no file",
    group: network,
  },
  "dns-domain": { type: "string", value: "DOMAIN", description: "domain of the container", group: network },
  "dns-search": {
    type: "string",
    array: true,
    value: "DOMAIN",
    description: "domain to look names up in",
    group: network,
  },
  "dns-opt": { type: "string", array: true, value: "OPTION", description: "option of resolv.conf(5)", group: network },
  "hosts-entry": {
    type: "string",
    array: true,
    value: "IP=HOST",
    description: "line of /etc/hosts; host takes over the host's file",
    group: network,
  },
  hostname: { type: "string", value: "NAME", description: "host name of the container (rkt-UUID)", group: network },
  "mds-register": {
    type: "string",
    bare: "true",
    choices: ["true", "false"],
    description: "register with the metadata service: wait 5 s for one, and fail without (default: only if one runs)",
    group: container,
  },
  "spawn-metadata-svc": {
    type: "boolean",
    description: "register, and start the metadata service if it does not run",
    group: container,
  },
  interactive: { type: "boolean", description: "give the one app the terminal", group: container },
} as const satisfies OptionTable;

/** A container's options, which may stand anywhere. */
export const containerOptions = {
  volume: {
    type: "string",
    array: true,
    value: "NAME:/PATH",
    description:
      "serve the mount points NAME with a path of the host; bind:/PATH serves the only one without a volume. In full: NAME,kind=host,source=/PATH or NAME,kind=empty, and then readOnly=, recursive=, idmap=, mode=, uid=, gid=. A mount point without a volume gets a new one, with what the image has there",
    group: files,
  },
  "set-env": {
    type: "string",
    array: true,
    value: "NAME=VALUE",
    description: "set a variable of every app",
    group: variables,
  },
  "set-env-file": {
    type: "string",
    array: true,
    value: "FILE",
    description: "set the variables of a file, NAME=VALUE lines, for every app",
    group: variables,
  },
  "inherit-env": {
    type: "boolean",
    description: "pass on the caller's variables that nothing else sets",
    group: variables,
  },
  ...launchOptions,
  port: {
    type: "string",
    array: true,
    value: "NAME:[HOSTIP:]HOSTPORT[-LAST]",
    description: "publish a port, by its name in the image or by its number",
    group: network,
  },
  "private-users": {
    type: "boolean",
    description: "give the container users of its own: its root is an ordinary user of the host",
    group: container,
  },
  ipc: {
    type: "string",
    choices: ["auto", "private", "parent"],
    description:
      "System V shared memory, semaphores and queues, and POSIX queues: the container's own (private), or those of the caller (parent); auto is the stage1's choice",
    group: container,
  },
  rm: { type: "boolean", description: "remove the container when it ends", group: container },
  "no-overlay": { type: "boolean", description: "copy the images instead of mounting overlays", group: container },
  "uuid-file-save": {
    type: "string",
    value: "FILE",
    description: "write the container's UUID to a file",
    group: container,
  },
  "pod-manifest": {
    type: "string",
    value: "FILE",
    description: "run what a pod manifest, or a template of one, says, instead of images",
    group: container,
  },
  "stage1-image": {
    type: "string",
    exclusive: "stage1",
    value: "IMAGE",
    description: "stage1 image: a file, URL, hash or name",
    group: images,
  },
  "stage1-path": { type: "string", exclusive: "stage1", value: "FILE", description: "stage1 image by its file", group: images },
  "stage1-url": { type: "string", exclusive: "stage1", value: "URL", description: "stage1 image by its URL", group: images },
  "stage1-name": { type: "string", exclusive: "stage1", value: "NAME", description: "stage1 image by its name", group: images },
  "stage1-hash": {
    type: "string",
    exclusive: "stage1",
    value: "HASH",
    description: "stage1 image in the store, by its hash",
    group: images,
  },
  "stage1-from-dir": {
    type: "string",
    exclusive: "stage1",
    value: "FILE",
    description: "stage1 image in the directories of stage1 images, by its file name",
    group: images,
  },
  ...pullOptions,
} as const satisfies OptionTable;

/** Before the first image, these are for the container, or for every app. */
export const sharedOptions = {
  mount: {
    type: "string",
    array: true,
    value: "volume=NAME,target=/PATH",
    description: "mount a volume; before the first image, in every app",
    group: files,
  },
  annotation: {
    type: "string",
    array: true,
    value: "NAME=VALUE",
    description: "annotation of the app; before the first image, of the container",
    group: app,
  },
  "user-annotation": {
    type: "string",
    array: true,
    value: "NAME=VALUE",
    description: "likewise, a user's annotation",
    group: app,
  },
  "user-label": {
    type: "string",
    array: true,
    value: "NAME=VALUE",
    description: "likewise, a user's label",
    group: app,
  },
} as const satisfies OptionTable;

export const imageOptions = {
  name: { type: "string", value: "NAME", description: "name of the app (from the image's)", group: app },
  exec: { type: "string", value: "PATH", description: "run this instead of the image's command", group: app },
  environment: {
    type: "string",
    array: true,
    value: "NAME=VALUE",
    description: "set a variable of this app",
    group: app,
  },
  user: { type: "string", value: "USER", description: "name, number, or a path whose owner it is", group: app },
  group: { type: "string", value: "GROUP", description: "name, number, or a path whose group it is", group: app },
  "supplementary-gids": { type: "string", array: true, value: "GID,...", description: "further groups, instead of the image's", group: app },
  "working-dir": { type: "string", value: "/PATH", description: "working directory", group: app },
  "readonly-rootfs": { type: "boolean", description: "mount the app's root read-only", group: app },
  memory: { type: "string", value: "AMOUNT", description: "limit of memory: 512Mi, 1G", group: app },
  cpu: { type: "string", value: "AMOUNT", description: "limit of processor time: 500m is half a core", group: app },
  "cpu-shares": { type: "string", value: "NUMBER", description: "weight against others, 2 to 262144", group: app },
  "caps-retain": {
    type: "string",
    array: true,
    exclusive: "capabilities",
    alias: "cap-retain",
    value: "CAP,...",
    description: "the only capabilities to keep",
    group: app,
  },
  "caps-remove": {
    type: "string",
    array: true,
    exclusive: "capabilities",
    alias: "cap-remove",
    value: "CAP,...",
    description: "capabilities to take away from those that the image leaves",
    group: app,
  },
  seccomp: {
    type: "string",
    value: "mode=MODE,CALL,...",
    description: "system calls to allow (mode=retain) or to refuse (mode=remove); errno=NAME instead of the app's end",
    group: app,
  },
  ulimit: {
    type: "string",
    array: true,
    value: "NAME=SOFT[:HARD]",
    description: "limit of each process: nofile, nproc, core, memlock, stack, … (getrlimit(2)); numbers or unlimited",
    group: app,
  },
  "oom-score-adj": {
    type: "string",
    alias: "oom-score-adjust",
    value: "NUMBER",
    description: "how soon it is killed for memory, -1000 to 1000",
    group: app,
  },
  "stop-signal": {
    type: "string",
    value: "SIGNAL",
    description: "signal that asks the app's processes to end (SIGTERM, or the image's)",
    group: app,
  },
  "stop-timeout": {
    type: "string",
    value: "DURATION",
    description: "time to end before they are killed (10s, or the image's)",
    group: app,
  },
  signature: { type: "string", value: "FILE", description: "signature of this image", group: app },
} as const satisfies OptionTable;

/** All options that may follow an image. */
export const appOptions = { ...imageOptions, ...sharedOptions } as const;

export const runOptions = { ...containerOptions, ...appOptions } as const;
