/**
 * What an OCI image's configuration is as an App Container image manifest
 * (docs/extend/oci.md, field by field). Pure and total: nothing in a
 * configuration becomes an isolator, a host's path or an annotation that rkt
 * acts on, but for those that are written here.
 */

import { posix } from "node:path";
import {
  ACCOUNT_ANNOTATION,
  CMD_ANNOTATION,
  ENTRYPOINT_ANNOTATION,
  MAKE_WORKING_DIRECTORY_ANNOTATION,
  OCI_ANNOTATIONS,
  STOP_SIGNAL_ANNOTATION,
} from "../../shared/contract/annotations.ts";
import { APPC_VERSION, bareApp } from "../../shared/schema/image-manifest.ts";
import type { App, ImageManifest, MountPoint, NameValue, Port } from "../../shared/schema/types.ts";
import { acIdentifier, timestamp, toACName } from "../../shared/schema/values.ts";
import { signalNumber } from "../../shared/stop.ts";
import type { ExposedPort, OciConfiguration } from "./configuration.ts";

export interface OciOrigin {
  /** App Container name. */
  name: string;
  reference: string;
  /** Of the manifest. */
  digest: string;
}

export function toImageManifest(config: OciConfiguration, origin: OciOrigin): ImageManifest {
  const version = tagOf(origin.reference);
  return {
    acVersion: APPC_VERSION,
    acKind: "ImageManifest",
    name: origin.name,
    labels: [
      ...(version === undefined ? [] : [{ name: "version", value: version }]),
      { name: "os", value: config.os },
      { name: "arch", value: appcArch(config) },
    ],
    app: appOf(config),
    dependencies: [],
    pathWhitelist: [],
    annotations: annotationsOf(config, origin),
  };
}

function appOf(config: OciConfiguration): App {
  const { user, entrypoint, cmd, workingDirectory } = config;
  return {
    ...bareApp([...entrypoint, ...cmd]),
    user: user.user,
    // Without one it is the user's own, which only the image's passwd knows (ACCOUNT_ANNOTATION).
    group: user.group ?? "0",
    workingDirectory,
    environment: environmentOf(config.environment),
    mountPoints: mountPointsOf(config.volumes),
    ports: portsOf(config.ports),
  };
}

/** Of a variable that is there twice, the last counts; Go writes "" for none. */
function environmentOf(variables: readonly NameValue[]): NameValue[] {
  const named = variables.filter(({ name }) => name !== "");
  return [...new Map(named.map(({ name, value }) => [name, value]))].map(([name, value]) => ({ name, value }));
}

/** What images made for a processor are called in appc (aci.md, "labels"); others keep their names. */
function appcArch({ architecture, variant }: OciConfiguration): string {
  if (architecture === "386") return "i386";
  if (architecture === "arm64") return "aarch64";
  if (architecture === "arm") return `arm${variant ?? "v7"}l`;
  return architecture;
}

/** The tag at the end of a reference, if it has one; a digest may follow it. */
function tagOf(reference: string): string | undefined {
  return /[^/:@]:([A-Za-z0-9_][\w.-]{0,127})$/.exec(reference.replace(/@sha256:[0-9a-f]{64}$/, ""))?.[1];
}

// --- ports and volumes --------------------------------------------------------------

function portsOf(exposed: readonly ExposedPort[]): Port[] {
  const ports = exposed.map(({ port, count, protocol }) => {
    const range = count === 1 ? String(port) : `${port}-${port + count - 1}`;
    return { name: `${range}-${protocol}`, protocol, port, count, socketActivated: false };
  });
  return [...new Map(ports.map((port) => [port.name, port])).values()];
}

/** A volume at `/var/lib/data` is `volume-var-lib-data`, as docker2aci had it. */
function mountPointsOf(paths: readonly string[]): MountPoint[] {
  const points = new Map<string, MountPoint>();
  for (const path of new Set(paths.map((one) => posix.resolve("/", one)))) {
    const base = toACName(`volume${path.replaceAll("/", "-")}`)
      .slice(0, MAX_NAME)
      .replace(/-+$/, "");
    let name = base;
    for (let n = 2; points.has(name); n++) name = `${base}-${n}`;
    points.set(name, { name, path, readOnly: false });
  }
  return [...points.values()];
}

/** A volume of the name is a file of the host's, with something before and after it. */
const MAX_NAME = 150;

// --- annotations ----------------------------------------------------------------------

function annotationsOf(config: OciConfiguration, { reference, digest }: OciOrigin): NameValue[] {
  const own: [string, string | undefined][] = [
    ["created", config.created !== undefined && timestamp(config.created) === undefined ? config.created : undefined],
    ["authors", config.author],
    [STOP_SIGNAL_ANNOTATION, stopSignal(config.stopSignal)],
    [ENTRYPOINT_ANNOTATION, JSON.stringify(config.entrypoint)],
    [CMD_ANNOTATION, JSON.stringify(config.cmd)],
    [ACCOUNT_ANNOTATION, config.user.group === undefined ? "own" : "given"],
    [MAKE_WORKING_DIRECTORY_ANNOTATION, config.workingDirectory === undefined ? undefined : "true"],
    [OCI_ANNOTATIONS.reference, reference],
    [OCI_ANNOTATIONS.digest, digest],
    [OCI_ANNOTATIONS.healthcheck, config.healthcheck === undefined ? undefined : JSON.stringify(config.healthcheck)],
  ];
  const annotations = new Map<string, string>();
  for (const [name, value] of own) if (value !== undefined) annotations.set(name, value);
  for (const [label, value] of config.labels) {
    const name = labelName(label);
    if (name !== undefined && !annotations.has(name)) annotations.set(name, value);
  }
  return [...annotations].map(([name, value]) => ({ name, value }));
}

/** One that Linux does not have is not passed on: the app is then asked to end as others are. */
const stopSignal = (text: string | undefined): string | undefined =>
  text === undefined || signalNumber(text) === undefined ? undefined : text;

/** Names that the specification, rkt or other executors give a meaning: a label must not come to have it. */
const MEANT = /^(?:created|authors|homepage|documentation)$|^(?:appc\.io|coreos\.com)(?:\/|$)/;

/** The annotation that a label becomes: the same name where that is an AC Identifier; undefined when nothing is left of it. */
function labelName(label: string): string | undefined {
  const parts = label
    .toLowerCase()
    .split("/")
    .map((part) => part.replace(/[^a-z0-9._~-]/g, "-").replace(/^[^a-z0-9]+|[^a-z0-9]+$/g, ""))
    .filter((part) => part !== "");
  const name = parts.join("/");
  if (name === "" || acIdentifier(name) !== undefined) return undefined;
  return MEANT.test(name) ? `label/${name}` : name;
}
