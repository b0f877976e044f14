/** Makes a request from the command line of `run` or `prepare`. */

import { usageError } from "../../shared/errors.ts";
import { IPC_MODES, STOP_SIGNAL_ANNOTATION, STOP_TIMEOUT_ANNOTATION } from "../../shared/contract/annotations.ts";
import type { Isolator, NameValue } from "../../shared/schema/types.ts";
import { acIdentifier, acName, account, argument, absolutePath } from "../../shared/schema/values.ts";
import type { Stage1Request } from "../fetch/wanted-stage1.ts";
import { hasUnifiedCgroups } from "../container/cgroups.ts";
import { leastOfApp } from "./isolators.ts";
import type { AppRequest, ContainerRequest, LaunchRequest, MetadataServiceRequest, ResolverRequest, RunRequest } from "./request.ts";
import { findReserved } from "./reserved-annotations.ts";
import { readOptions, type Values } from "../cli/options.ts";
import { allOptions, type Line, type Operand, type OptionTable, type OptionWord } from "../cli/words.ts";
import { readMaxImageSize, readPlatform, readPullPolicy } from "./pull-options.ts";
import { appOptions, containerOptions, imageOptions, launchOptions, sharedOptions } from "./run-options.ts";
import { checked, parseId, parseInteger, parseUniquePairs } from "../cli/values.ts";
import { parseVariables } from "./environment-options.ts";
import {
  capabilitiesIsolator,
  cpuIsolator,
  memoryIsolator,
  rlimitsIsolator,
  seccompIsolator,
} from "./isolator-options.ts";
import { hostname, ipAddress, parseHostsEntries, parsePort, resolverWord } from "./network-options.ts";
import { stopSignal, stopTime } from "./stop-options.ts";
import { parseMount, parseVolume } from "./volume-options.ts";

const STAGE1_OPTIONS = [
  "stage1-image",
  "stage1-path",
  "stage1-url",
  "stage1-name",
  "stage1-hash",
  "stage1-from-dir",
] as const;

/** A line of `run` or `prepare`. */
export interface RunLine {
  request: ContainerRequest;
  /** The container is removed when it ends. */
  rm: boolean;
}

/** Reads a line that was scanned with `runOptions`. */
export function readRunLine(line: Line): RunLine {
  const { options: before, operands } = line;
  const everywhere = allOptions(line);
  const values = readOptions(pick(everywhere, containerOptions), containerOptions);
  const [misplaced] = pick(before, imageOptions);
  if (misplaced !== undefined)
    throw usageError(
      `--${misplaced.name} must follow an image`,
      `rkt run IMAGE --${misplaced.name}=${misplaced.value}`,
    );
  const shared = readOptions(pick(before, sharedOptions), sharedOptions);
  const apps = operands.map(readApp);

  const volumes = values.volume.map(parseVolume);
  const run: RunRequest = {
    apps,
    podManifest: values["pod-manifest"],
    volumes: volumes.flatMap((volume) => {
      if ("boundPath" in volume) return [];
      const { idmap: _, ...own } = volume;
      return [own];
    }),
    boundPaths: volumes.flatMap((volume) => ("boundPath" in volume ? [volume.boundPath] : [])),
    mounts: shared.mount.map(parseMount),
    environment: {
      inherit: values["inherit-env"],
      files: values["set-env-file"],
      set: parseVariables("set-env", values["set-env"]),
    },
    annotations: readAnnotations(shared.annotation, "container"),
    userAnnotations: parseUniquePairs("user-annotation", shared["user-annotation"], argument),
    userLabels: parseUniquePairs("user-label", shared["user-label"], argument),
    ports: values.port.map(parsePort),
    ...readLaunch(values),
    privateUsers: values["private-users"],
    ipc: IPC_MODES.find((mode) => mode === values.ipc),
    mappedVolumes: volumes.flatMap((volume) => ("idmap" in volume ? [volume.name] : [])),
  };
  checkRequest(run, everywhere);
  return {
    request: {
      run,
      stage1: readStage1(values),
      pullPolicy: readPullPolicy(values, "new"),
      platform: readPlatform(values.platform),
      maxImageSize: readMaxImageSize(values["max-image-size"]),
      overlay: !values["no-overlay"],
      uuidFile: values["uuid-file-save"],
      metadataService: readMetadataService(values),
    },
    rm: values.rm,
  };
}

/** The options of `run-prepared` that change how a container runs. */
export interface LaunchLine {
  request: LaunchRequest;
  metadataService: MetadataServiceRequest;
}

/** Reads the options of `run-prepared` that change how a container runs; undefined when there is none. */
export function readLaunchLine(line: Line): LaunchLine | undefined {
  const words = pick(line.options, launchOptions);
  if (words.length === 0) return undefined;
  const values = readOptions(words, launchOptions);
  return { request: readLaunch(values), metadataService: readMetadataService(values) };
}

function readMetadataService(values: Values<typeof launchOptions>): MetadataServiceRequest {
  const { "mds-register": wish, "spawn-metadata-svc": spawn } = values;
  return { register: wish === undefined ? undefined : wish === "true" ? "must" : "never", spawn };
}

function readLaunch(values: Values<typeof launchOptions>): LaunchRequest {
  const networks = [...values.net, ...values["private-net"]];
  return {
    network: networks.length === 0 ? undefined : networks.join(","),
    resolver: readResolver(values),
    hosts: parseHostsEntries(values["hosts-entry"]),
    hostname: optional("hostname", values.hostname, hostname),
    interactive: values.interactive,
  };
}

function pick(words: readonly OptionWord[], table: OptionTable): OptionWord[] {
  return words.filter(({ name }) => Object.hasOwn(table, name));
}

function optional(option: string, value: string | undefined, rule: Parameters<typeof checked>[2]): string | undefined {
  return value === undefined ? undefined : checked(option, value, rule);
}

function readApp(operand: Operand): AppRequest {
  const values = readOptions(pick(operand.options, appOptions), appOptions);
  return {
    image: operand.text,
    signature: values.signature,
    name: optional("name", values.name, acName),
    exec: optional("exec", values.exec, (text) => (text === "" ? "must not be empty" : argument(text))),
    arguments: operand.arguments ?? [],
    user: optional("user", values.user, account),
    group: optional("group", values.group, account),
    supplementaryGIDs: readGroups(values["supplementary-gids"]),
    workingDirectory: optional("working-dir", values["working-dir"], absolutePath),
    environment: parseVariables("environment", values.environment),
    mounts: values.mount.map(parseMount),
    isolators: readIsolators(values),
    readOnlyRootFS: values["readonly-rootfs"],
    annotations: [...stopAnnotations(values), ...readAnnotations(values.annotation, "app")],
    userAnnotations: parseUniquePairs("user-annotation", values["user-annotation"], argument),
    userLabels: parseUniquePairs("user-label", values["user-label"], argument),
  };
}

function readAnnotations(texts: readonly string[], of: "app" | "container"): NameValue[] {
  const annotations = parseUniquePairs("annotation", texts, acIdentifier);
  const reserved = findReserved(annotations, of);
  if (reserved !== undefined) throw usageError(`--annotation: ${reserved.name} is rkt's own`, reserved.hint);
  return annotations;
}

/** The options become annotations, which an image may have, too. */
function stopAnnotations(values: Values<typeof appOptions>): NameValue[] {
  const { "stop-signal": signal, "stop-timeout": timeout, annotation } = values;
  const said = [
    [STOP_SIGNAL_ANNOTATION, "stop-signal", optional("stop-signal", signal, stopSignal)],
    [STOP_TIMEOUT_ANNOTATION, "stop-timeout", timeout === undefined ? undefined : stopTime("stop-timeout", timeout)],
  ] as const;
  return said.flatMap(([name, option, value]) => {
    if (value === undefined) return [];
    if (annotation.some((text) => text.startsWith(`${name}=`)))
      throw usageError(`--${option} and --annotation=${name} say the same`, "leave one out");
    return [{ name, value: String(value) }];
  });
}

function readGroups(texts: readonly string[]): number[] | undefined {
  if (texts.length === 0) return undefined;
  return texts.flatMap((text) => text.split(",")).map((text) => parseId("supplementary-gids", text));
}

function readIsolators(values: Values<typeof imageOptions>): Isolator[] {
  const isolators: Isolator[] = [];
  const least = leastOfApp(hasUnifiedCgroups());
  if (values.memory !== undefined) isolators.push(memoryIsolator(values.memory, least));
  if (values.cpu !== undefined) isolators.push(cpuIsolator(values.cpu, least));
  if (values["cpu-shares"] !== undefined)
    isolators.push({
      name: "os/linux/cpu-shares",
      value: parseInteger("cpu-shares", values["cpu-shares"], 2, 262_144),
    });
  if (values["oom-score-adj"] !== undefined)
    isolators.push({
      name: "os/linux/oom-score-adj",
      value: parseInteger("oom-score-adj", values["oom-score-adj"], -1000, 1000),
    });
  if (values.ulimit.length > 0) isolators.push(rlimitsIsolator(values.ulimit));
  for (const option of ["caps-retain", "caps-remove"] as const)
    if (values[option].length > 0) isolators.push(capabilitiesIsolator(option, values[option]));
  if (values.seccomp !== undefined) isolators.push(seccompIsolator(values.seccomp));
  return isolators;
}

function readResolver(values: Values<typeof launchOptions>): ResolverRequest {
  const domain = optional("dns-domain", values["dns-domain"], resolverWord);
  const search = values["dns-search"].map((text) => checked("dns-search", text, resolverWord));
  const options = values["dns-opt"].map((text) => checked("dns-opt", text, resolverWord));
  const [first] = values.dns;
  const further = domain !== undefined || search.length > 0 || options.length > 0;
  for (const word of ["host", "none"] as const) {
    if (!values.dns.includes(word)) continue;
    if (values.dns.length > 1 || further) throw usageError(`--dns=${word} stands alone`);
    return word;
  }
  if (first === undefined && !further) return "default";
  return { servers: values.dns.map((text) => checked("dns", text, ipAddress)), domain, search, options };
}

function readStage1(values: Values<typeof containerOptions>): Stage1Request {
  for (const option of STAGE1_OPTIONS) {
    const text = values[option];
    if (text !== undefined) return { by: option.slice("stage1-".length) as NonNullable<Stage1Request>["by"], text };
  }
  return undefined;
}

/** Options that are refused with --pod-manifest, because the manifest itself says these things. */
const ANSWERED_BY_POD_MANIFEST = [
  "volume",
  "set-env",
  "set-env-file",
  "inherit-env",
  "port",
  ...Object.keys(sharedOptions),
];

function checkRequest(request: RunRequest, words: readonly OptionWord[]): void {
  const { apps, podManifest, ports, network = "host", interactive } = request;
  if (podManifest === undefined) {
    if (apps.length === 0) throw usageError("there is no image", "rkt run [options] IMAGE...; see `rkt run --help`");
  } else {
    const [first] = apps;
    if (first !== undefined) throw usageError(`--pod-manifest names the images: ${first.image} can't be one more`);
    const answered = words.find(({ name }) => ANSWERED_BY_POD_MANIFEST.includes(name));
    if (answered !== undefined)
      throw usageError(`--${answered.name} has no meaning with --pod-manifest`, "say it in the manifest");
    // rkt 1.30 takes the images of a pod manifest from the store alone, and says so by refusing these.
    const policy = words.find(({ name }) => name === "no-store" || name === "store-only");
    if (policy !== undefined)
      throw usageError(`--${policy.name} has no meaning with --pod-manifest`, "--pull-policy says where its images come from");
  }
  const [mapped] = request.mappedVolumes;
  if (mapped !== undefined && !request.privateUsers)
    throw usageError(`--volume ${mapped}: idmap has a meaning with --private-users only`);
  if (request.privateUsers && request.ipc === "parent")
    throw usageError(
      "--ipc=parent can't be had with --private-users: the caller's shared memory is the host's users'",
      "leave one out",
    );
  if (interactive && apps.length > 1)
    throw usageError(
      "--interactive gives the terminal to one app, not to several",
      "run each in a container of its own",
    );
  if (ports.length > 0 && (network === "host" || network === "none"))
    throw usageError(`--port needs a network of the container's own, and this one's is ${network}`, "add --net");
}
