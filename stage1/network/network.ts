/**
 * Sets the container's network up (ADR 3): a network namespace, what CNI plugins put into it, rules of the host that
 * guard it, and the scripts that release all that. Stage 1 does this before it makes anything else of the container, in
 * the container directory and in the host's namespaces.
 */

import { spawn, spawnSync } from "node:child_process";
import { existsSync, closeSync, mkdirSync, realpathSync } from "node:fs";
import { printable, RktError } from "../../shared/errors.ts";
import { ANNOTATIONS, EARLY_IMAGE_ANNOTATION } from "../../shared/contract/annotations.ts";
import {
  LOCAL_CONFIG_DIR,
  NETWORK_CONFIG,
  NETWORK_PLUGIN_DIRS,
  SYSTEM_CONFIG_DIR,
} from "../../shared/contract/configuration.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { NETWORK_STATE, networkClaim } from "../../shared/contract/host-state.ts";
import { STAGE1, STAGE1_PLUGINS } from "../../shared/contract/stage1-root.ts";
import { makeClaim, releaseClaim, releaseDeadNetworks } from "../../shared/network-claims.ts";
import {
  ALL_NETWORKS,
  type NetworkChoice,
  networkRequest,
  type PortMapping,
  portMappings,
  portName,
  refusePorts,
} from "../../shared/network-request.ts";
import { readTreesFile } from "../../shared/read-trees.ts";
import { makeRuntimeDirectory, openRuntimeFile } from "../../shared/runtime-directory.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import type { RuntimeApp } from "../../shared/schema/types.ts";
import { olderThan } from "../../shared/schema/values.ts";
import { flock, LOCK_EX } from "../../shared/syscall/descriptor.ts";
import { writeWhole } from "../../shared/write-whole.ts";
import {
  addressesOf,
  bareAddress,
  type Attachment,
  type CniResult,
  HOST_PATH,
  addAll,
  checkAll,
  nameServersOf,
  requirePlugins,
} from "./cni.ts";
import type { Container } from "../container/container.ts";
import {
  BUILT_IN_NETWORKS,
  builtInNetwork,
  installRules,
  isBuiltIn,
  PORTMAP,
  releaseUnused,
} from "./built-in-networks.ts";
import { currentSubnets } from "./built-in-subnets.ts";
import { DEFAULT_NETWORK } from "./default-bridge.ts";
import { hostOnlyRelease, installHostOnlyRules, pairOf } from "./host-only.ts";
import { releaseHostSettings, withHostSettings } from "./host-settings.ts";
import { inNamespace, makeNamespace } from "./namespace.ts";
import { guardNeighbours } from "./neighbours.ts";
import { hasCapability, type NetworkConf, readNetworkConfs } from "./network-conf.ts";
import { portFile, reservePorts } from "./ports.ts";
import { guardRelease, guardRules, installGuard } from "./source-guard.ts";
import { awaitTeardownScript, masquerades, networkStep, portsStep, teardownScript, usesPortmap } from "./release.ts";

export interface ContainerNetwork {
  /** Descriptor of the network namespace; undefined: the host's. */
  namespace: number | undefined;
  /** The container's addresses, without prefix lengths, those of the first network first. */
  addresses: string[];
  nameServers: string[];
  /** Must stay open as long as the container lives. */
  keepFds: number[];
  /** Releases everything, if the container can't be started. */
  undo(): void;
}

const here = containerLayout(".");

export function setUpNetwork(container: Container): ContainerNetwork {
  const request = networkRequest(container.manifest);
  const ports = portMappings(container.manifest);
  if (request === "host" || request === "none") {
    refusePorts(request, ports);
    const namespace = request === "none" ? makeNamespace(container) : undefined;
    return {
      namespace,
      addresses: [],
      nameServers: [],
      keepFds: namespace === undefined ? [] : [namespace],
      undo: () => {},
    };
  }
  return joinNetworks(container, request, ports);
}

// --- the metadata service of 0.1.x -------------------------------------------------------

/** The only address at which apps from before rkt 0.2.0 look for the metadata service. */
const EARLY_SERVICE = { address: "169.254.169.255", port: 80 } as const;

function looksForService({ annotations }: RuntimeApp): boolean {
  const version = annotation(annotations, EARLY_IMAGE_ANNOTATION);
  return version !== undefined && olderThan(version, "0.2.0");
}

/**
 * Leads connections to the early address to the service. The rule is in the container's own namespace, so it takes
 * nothing from the program that has port 80 of the host. Without iptables(8), such an app finds no service, and reports
 * that itself.
 */
function redirectToService({ manifest }: Container, namespace: number): void {
  const url = annotation(manifest.annotations, ANNOTATIONS.metadataUrl);
  const [, address, port] = /^http:\/\/([0-9.]+):([0-9]+)\//.exec(url ?? "") ?? [];
  if (address === undefined || (address === EARLY_SERVICE.address && Number(port) === EARLY_SERVICE.port)) return;
  const rule = `-A OUTPUT -d ${EARLY_SERVICE.address}/32 -p tcp --dport ${EARLY_SERVICE.port} -j DNAT --to-destination ${address}:${port}`;
  inNamespace(namespace, () =>
    spawnSync("iptables-restore", ["-w", "--noflush"], {
      env: { PATH: HOST_PATH },
      input: `*nat\n${rule}\nCOMMIT\n`,
      stdio: ["pipe", "ignore", "ignore"],
    }),
  );
}

// --- networks ---------------------------------------------------------------------------

interface Joined {
  attachment: Attachment;
  result: CniResult | undefined;
  /** Descriptors that must stay open as long as the container lives. */
  keep: readonly number[];
}

function joinNetworks(
  container: Container,
  choices: readonly NetworkChoice[],
  ports: readonly PortMapping[],
): ContainerNetwork {
  const { uuid } = container;
  const dirs = configDirs(container);
  const confs = readNetworkConfs(dirs);
  const pluginDirs = [...dirs.map((dir) => `${dir}/${NETWORK_CONFIG}`), ...NETWORK_PLUGIN_DIRS];
  const programs = { pluginDirs, stage1: lastingStage1() };
  const attachments = named(choices, confs).map((choice, i) => attachmentOf(uuid, choice, i, confs, programs));
  assignPorts(attachments, ports);
  for (const attachment of attachments) requirePlugins(attachment);

  // Frees addresses and ports that this container may need. `rkt gc` reports what can't be released.
  makeRuntimeDirectory(NETWORK_STATE.dir);
  releaseDeadNetworks({ limit: START_LIMIT, again: false });

  mkdirSync(here.net, { recursive: true, mode: 0o755 });
  const lockFd = makeClaim(uuid);
  const undo = () => {
    closeSync(lockFd);
    // What fails here stays for `rkt gc`.
    releaseClaim(uuid, RELEASE_LIMIT);
  };
  try {
    const claim = networkClaim(uuid);
    makeRuntimeDirectory(claim.steps);
    writeWhole(here.netTeardown, awaitTeardownScript(uuid), 0o700);
    writeWhole(claim.teardown, teardownScript(uuid), 0o700, claim.temporary);
    startWaiter(uuid);
    if (ports.length > 0) {
      writeStep(uuid, "00-ports", portsStep(uuid, ports.map(portFile)));
      reservePorts(uuid, ports);
    }
    const namespace = makeNamespace(container);
    const netns = `/proc/${process.pid}/fd/${namespace}`;
    const joined = attachments.map((attachment, i) => join(attachment, i, { namespace, netns, lockFd }));
    if (container.manifest.apps.some(looksForService)) redirectToService(container, namespace);
    if (container.debug)
      for (const { attachment, result } of joined)
        if (!attachment.conf.disableCheck) checkAll(attachment, netns, lockFd, result).forEach(warn);
    writeWhole(here.networks, `${JSON.stringify(joined.map(describe))}\n`, 0o644);
    return {
      namespace,
      addresses: joined.flatMap(({ result }) => addressesOf(result).map(bareAddress)),
      nameServers: joined.flatMap(({ result }) => nameServersOf(result)),
      keepFds: [namespace, lockFd, ...joined.flatMap(({ keep }) => keep)],
      undo,
    };
  } catch (error) {
    undo();
    throw error;
  }
}

/** Milliseconds that a start spends on the release of one ended container. */
const START_LIMIT = 30_000;
/** Milliseconds that a release may take. */
const RELEASE_LIMIT = 150_000;

/** The directories with the administrator's networks. Stage 0 names them if they are not the usual ones. */
function configDirs({ manifest }: Container): string[] {
  return annotation(manifest.annotations, ANNOTATIONS.configDirs)?.split(":") ?? [LOCAL_CONFIG_DIR, SYSTEM_CONFIG_DIR];
}

/** The choices, with "all" spelled out: the administrator's networks in their files' order, then the default one. */
function named(choices: readonly NetworkChoice[], confs: ReadonlyMap<string, NetworkConf>): NetworkChoice[] {
  if (!choices.some(({ name }) => name === ALL_NETWORKS)) return [...choices];
  const names = new Set([...confs.keys(), DEFAULT_NETWORK]);
  const further = choices.filter(({ name }) => name !== ALL_NETWORKS && !names.has(name));
  return [...[...names].map((name) => choices.find((one) => one.name === name) ?? { name, args: "" }), ...further];
}

/**
 * The root of the stage1 image at a path of the host that exists until the container is removed: the rendered tree in the
 * store, or the container's own copy.
 */
function lastingStage1(): string {
  // A directory that was laid out by hand has no such file.
  const trees = existsSync(here.trees) ? readTreesFile(".") : undefined;
  const shared = trees?.overlay === true ? dataLayout("../../..").treeRootfs(trees.stage1.tree) : undefined;
  return realpathSync(shared ?? here.stage1Rootfs);
}

function attachmentOf(
  containerId: string,
  { name, args }: NetworkChoice,
  i: number,
  confs: ReadonlyMap<string, NetworkConf>,
  { pluginDirs, stage1 }: { pluginDirs: readonly string[]; stage1: string },
): Attachment {
  const conf = confs.get(name) ?? builtInNetwork(name, UNKNOWN_SUBNETS, true);
  if (conf === undefined)
    throw new RktError("no-network", `there is no network "${name}"`, {
      hint: `there are: ${[...new Set([...confs.keys(), ...BUILT_IN_NETWORKS])].join(", ")}; files of net.d define more`,
    });
  return {
    conf,
    containerId,
    ifName: `eth${i}`,
    args,
    portMappings: [],
    pluginDirs,
    ownPlugins: `${stage1}${STAGE1_PLUGINS}`,
    busybox: `${stage1}${STAGE1.busybox}`,
  };
}

/** A built-in network's subnets are known only when its lock is held. */
const UNKNOWN_SUBNETS = { ipv4: "0.0.0.0/0" };

/**
 * Chooses the network that publishes the ports: the first that has a plugin for it, or else the first that masquerades,
 * which gets the plugin portmap. It must masquerade so that the container's answers go through its gateway.
 */
function assignPorts(attachments: Attachment[], ports: readonly PortMapping[]): void {
  if (ports.length === 0) return;
  const publishing = attachments.find(({ conf }) => conf.plugins.some((one) => hasCapability(one, "portMappings")));
  const masquerading = attachments.find(({ conf }) => masquerades(conf));
  const chosen = publishing ?? masquerading;
  if (chosen === undefined)
    throw new RktError("bad-network", "none of the container's networks can publish ports", {
      hint: `a network with ipMasq can, and one with a plugin that has the capability "portMappings": portmap, in a .conflist`,
    });
  if (publishing === undefined) chosen.conf = { ...chosen.conf, plugins: [...chosen.conf.plugins, PORTMAP] };
  chosen.portMappings = ports;
}

interface Place {
  namespace: number;
  /** Its path. */
  netns: string;
  lockFd: number;
}

function join(attachment: Attachment, i: number, { namespace, netns, lockFd }: Place): Joined {
  const { conf, containerId: uuid } = attachment;
  const lock = openRuntimeFile(NETWORK_STATE.lock(conf.name));
  let locked = true;
  const unlock = () => {
    if (locked) closeSync(lock);
    locked = false;
  };
  try {
    flock(lock, LOCK_EX);
    let afterwards = releaseHostSettings(attachment);
    let prepare = () => {};
    if (isBuiltIn(conf)) {
      const subnets = currentSubnets(conf.name, attachment.busybox, networkClaim(uuid).temporary);
      afterwards = `${releaseUnused(conf.name, subnets, attachment.busybox)}${afterwards}`;
      attachment.conf = builtInNetwork(conf.name, subnets, attachment.portMappings.length > 0) ?? conf;
      prepare = () => installRules(conf.name, subnets);
    }
    const name = `${String(10 + i)}-${conf.name}`;
    // Written before ADD, because a plugin that fails may leave something, and again after it, with its result.
    writeStep(uuid, name, networkStep(attachment, undefined, afterwards));
    prepare();
    const result = withHostSettings(attachment, () => addPlugins(attachment, netns, lockFd, unlock));
    const guard = isBuiltIn(conf) ? guardOf(attachment, result) : undefined;
    writeStep(uuid, name, networkStep(attachment, result, `${guard?.release ?? ""}${afterwards}`));
    const neighbours = guardNeighbours(attachment, result, namespace);
    for (const warning of [guard?.install(), neighbours.warning]) if (warning !== undefined) warn(warning);
    return { attachment, result, keep: neighbours.keep };
  } finally {
    unlock();
  }
}

/** The rules that keep a container on a built-in network from using others' addresses, or from reaching too far. */
function guardOf(
  attachment: Attachment,
  result: CniResult | undefined,
): { release: string; install(): string | undefined } | undefined {
  const { conf, containerId, busybox } = attachment;
  if (conf.name !== DEFAULT_NETWORK) {
    const pair = pairOf(attachment, result);
    return { release: hostOnlyRelease(pair), install: () => installHostOnlyRules(pair, conf.name) };
  }
  const rules = guardRules(containerId, result);
  if (rules === undefined) return undefined;
  return { release: guardRelease(containerId, result), install: () => installGuard(rules, busybox) };
}

/**
 * Runs ADD of the network's plugins. portmap runs under a lock of its own, so that no release removes the chains that it
 * is about to use. It takes long for many ports. So if it is the last plugin, the network's lock is released before: by
 * then the container has its lease, so that nobody removes the network.
 */
function addPlugins(
  attachment: Attachment,
  netns: string,
  lockFd: number,
  unlock: () => void,
): CniResult | undefined {
  const { plugins } = attachment.conf;
  if (!usesPortmap(attachment.conf)) return addAll(attachment, netns, lockFd);
  const first = plugins.at(-1)?.type === "portmap" ? plugins.slice(0, -1) : [];
  const result = addAll(attachment, netns, lockFd, first);
  if (first.length > 0) unlock();
  const lock = openRuntimeFile(NETWORK_STATE.portmapLock);
  try {
    flock(lock, LOCK_EX);
    return addAll(attachment, netns, lockFd, plugins.slice(first.length), result);
  } finally {
    closeSync(lock);
  }
}

function describe({ attachment, result }: Joined): object {
  const { conf, ifName, portMappings } = attachment;
  return { name: conf.name, interface: ifName, addresses: addressesOf(result), ports: portMappings.map(portName) };
}

function warn(text: string): void {
  process.stderr.write(`rkt: warning: ${printable(text)}\n`);
}

/** Writes a step of the release. It becomes a file of the steps' directory only when it is whole, since all there run. */
function writeStep(uuid: string, name: string, text: string): void {
  const { steps, temporary } = networkClaim(uuid);
  writeWhole(`${steps}/${name}`, text, 0o600, temporary);
}

/**
 * Sleeps in flock(2) until the container has ended, then releases its networks.
 * Not part of the container, and not in its directory, which may be lost.
 */
function startWaiter(uuid: string): void {
  const { teardown } = networkClaim(uuid);
  const missing = ["sh", "flock"].some((name) => !HOST_PATH.split(":").some((dir) => existsSync(`${dir}/${name}`)));
  const how = { cwd: "/", env: { PATH: HOST_PATH }, detached: true, stdio: "ignore" } as const;
  const child = missing ? undefined : spawn("sh", [teardown, "wait"], how);
  child?.on("error", () => {});
  if (child?.pid === undefined)
    throw new RktError("no-waiter", "a network of the container's own needs sh and flock(1) on the host", {
      hint: "install util-linux",
    });
  child.unref();
}
