import { shortId } from "../../shared/contract/image-ids.ts";
import { type Command, readLine } from "../cli/command.ts";
import { type ContainerFacts, inspect } from "../container/inspect.ts";
import { listContainers } from "../container/lifecycle.ts";
import { print, printJson, say } from "../terminal/output.ts";
import { ago, table } from "../terminal/table.ts";
import { jsonForm } from "../cli/options.ts";
import { formatOption } from "./json-options.ts";

const options = {
  full: { type: "boolean", description: "whole UUIDs and image IDs, times in RFC 3339, stage1 images" },
  "no-legend": { type: "boolean", description: "no line with the names of the columns" },
  ...formatOption("table"),
} as const;

export const command: Command = {
  usage: "list [options]",
  description:
    "Lists the containers: a line for each app. All information comes from the container directories; rkt enters and mounts nothing.",
  examples: [
    ["rkt list", "the containers and their states"],
    ["rkt list --format=json", "the same for a program"],
  ],
  options,
  operands: [0, 0],
  needsRoot: true,
  async run(line, globals) {
    const { options: given } = readLine(line, options);
    const facts = listContainers(globals.dir)
      .flatMap((ref) => inspect(globals.dir, ref) ?? [])
      .sort((a, b) => (a.createdAt ?? 0) - (b.createdAt ?? 0) || (a.uuid < b.uuid ? -1 : 1));
    const json = jsonForm(given);
    if (json !== undefined) printJson(facts.map(containerJson), json.pretty);
    else print(asTable(facts, given.full, !given["no-legend"]));
    for (const container of facts)
      if (container.damage !== undefined) say(`container ${container.uuid} is damaged: ${container.damage}`);
  },
};

function asTable(facts: readonly ContainerFacts[], full: boolean, legend: boolean): string {
  const now = Date.now();
  const time = (at: number | undefined) => (at === undefined ? "" : full ? new Date(at).toISOString() : ago(at, now));
  const rows = facts.flatMap((container) => {
    const first = [full ? container.uuid : container.uuid.slice(0, 8)];
    const stage1 = full ? [container.stage1 ?? ""] : [];
    const last = [
      container.phase,
      time(container.createdAt),
      time(container.startedAt),
      networks(container),
      ...stage1,
    ];
    if (container.apps.length === 0) return [[...first, "-", "-", ...last]];
    return container.apps.map((app, i) => [
      ...(i === 0 ? first : [""]),
      app.name,
      full ? `${app.imageName ?? ""} ${app.imageId}`.trim() : (app.imageName ?? shortId(app.imageId)),
      ...(i === 0 ? last : last.map(() => "")),
    ]);
  });
  const columns = ["UUID", "APP", "IMAGE NAME", "STATE", "CREATED", "STARTED", "NETWORKS", ...(full ? ["STAGE1"] : [])];
  return table(legend ? columns : undefined, rows);
}

/** `NAME:ADDRESS`, as in rkt 1.30. */
const networks = (facts: ContainerFacts): string =>
  facts.networks.map(({ name, addresses }) => [name, ...addresses].join(":")).join(", ");

/** The JSON of list and status. Times are in RFC 3339; unknown values are absent. */
export function containerJson(facts: ContainerFacts) {
  const time = (at: number | undefined) => (at === undefined ? undefined : new Date(at).toISOString());
  return {
    uuid: facts.uuid,
    state: facts.phase,
    pid: facts.pid,
    stage1: facts.stage1,
    created: time(facts.createdAt),
    started: time(facts.startedAt),
    apps: facts.apps.map((app) => ({
      name: app.name,
      image: app.imageName,
      imageID: app.imageId,
      exitCode: app.exitCode,
    })),
    networks: facts.networks,
    privateUsers: facts.privateUsers,
    ready: facts.phase === "running" ? facts.ready : undefined,
    damage: facts.damage,
  };
}
