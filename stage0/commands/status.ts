import { type Command, readLine } from "../cli/command.ts";
import { contractViolations } from "../container/contract-violations.ts";
import { type ContainerFacts, inspect, readManifest } from "../container/inspect.ts";
import type { IsolatorFact, isolatorFacts } from "../request/isolators.ts";
import { type ContainerRef, findContainer, type Phase, phase } from "../container/lifecycle.ts";
import { waitUnlocked } from "../container/lock.ts";
import { selectContainer, uuidFileOption } from "../container/select.ts";
import { printable, RktError } from "../../shared/errors.ts";
import { isObject } from "../../shared/schema/place.ts";
import type { Json } from "../../shared/schema/types.ts";
import { jsonText, print, say } from "../terminal/output.ts";
import { jsonForm } from "../cli/options.ts";
import { formatOption } from "./json-options.ts";
import { containerJson } from "./list.ts";

const options = {
  wait: { type: "boolean", description: "wait until the container has ended" },
  "wait-ready": {
    type: "boolean",
    description: "wait until all apps have been started, and those that report their readiness are ready",
  },
  ...formatOption("text"),
  ...uuidFileOption,
} as const;

export const command: Command = {
  usage: "status [options] UUID",
  description:
    "Prints the state of a container, as lines of key=value: its state, its pid while it runs, the exit status of each app that has ended, and which isolators of the container and of each app are enforced or ignored.\n\nThe pid is that of the process that holds the container's lock.",
  examples: [
    ["rkt status 6ba7b810", "the container whose UUID begins so"],
    ["rkt status --wait 6ba7b810", "the same, when it has ended"],
    ["rkt status --wait-ready --uuid-file=/run/db.uuid", "when its apps have been started"],
  ],
  options,
  operands: [0, 1],
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = readLine(line, options);
    let ref = selectContainer(globals.dir, operands, given["uuid-file"]);
    if (given["wait-ready"]) await waitUntilReady(globals.dir, ref);
    if (given.wait) ref = waitForEnd(globals.dir, ref);
    const facts = inspect(globals.dir, ref);
    if (facts === undefined) throw new RktError("no-such-container", `container ${ref.uuid} is gone`);
    const isolators = await isolatorsOf(ref);
    const form = jsonForm(given);
    print(form === undefined ? lines(facts, isolators) : jsonText(json(facts, isolators), form.pretty));
    for (const violation of contractViolations(findContainer(globals.dir, ref.uuid), facts)) say(violation);
    if (facts.damage !== undefined)
      throw new RktError("damaged-container", `container ${ref.uuid} is damaged: ${facts.damage}`);
  },
};

/** Follows a container through its states until nothing of it runs. */
function waitForEnd(data: string, first: ContainerRef): ContainerRef {
  let ref = first;
  for (;;) {
    const now = phase(ref);
    if (now === "running" || now === "preparing" || now === "embryo") waitUnlocked(ref.dir);
    else if (now !== undefined) return ref;
    ref = findContainer(data, ref.uuid);
  }
}

const BEFORE_THE_END: readonly Phase[] = ["embryo", "preparing", "prepared", "running"];

/**
 * Waits until the apps are ready. There is no event for a file in a container, so this looks for it again and again.
 */
async function waitUntilReady(data: string, ref: ContainerRef): Promise<void> {
  for (;;) {
    const facts = inspect(data, ref);
    if (facts?.ready === true) return;
    if (facts === undefined || !BEFORE_THE_END.includes(facts.phase))
      throw new RktError("never-ready", `container ${ref.uuid} ended before its apps were ready`, {
        hint: `\`rkt logs ${ref.uuid.slice(0, 8)}\` shows what they said`,
      });
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

type Isolators = ReturnType<typeof isolatorFacts>;

/** The effects of the isolators; undefined if they can't be read. The module for that is loaded only here. */
async function isolatorsOf({ dir }: ContainerRef): Promise<Isolators | undefined> {
  const { isolatorFacts } = await import("../request/isolators.ts");
  try {
    return isolatorFacts(readManifest(dir));
  } catch {
    // `inspect` reports a damaged manifest. A container that has just been renamed is shown without isolators.
    return undefined;
  }
}

/** The JSON of `rkt list`, with the effects of the isolators. */
function json(facts: ContainerFacts, isolators: Isolators | undefined): object {
  const common = containerJson(facts);
  if (isolators === undefined) return common;
  const apps = common.apps.map((app, i) => ({ ...app, isolators: isolators.apps[i] }));
  return { ...common, apps, isolators: isolators.container };
}

/**
 * `isolators=` and `ignored-isolators=` of the container or of one app: NAME=VALUE with the enforced values, joined by
 * spaces.
 */
function isolatorPairs(suffix: string, facts: readonly IsolatorFact[]): string[] {
  const enforced = facts.filter(({ effect }) => effect !== "ignored");
  const ignored = facts.filter(({ effect }) => effect === "ignored");
  return [
    ...(enforced.length === 0
      ? []
      : [
          `isolators${suffix}=${enforced.map(({ name, value, instead }) => `${name}=${short(instead ?? value)}`).join(" ")}`,
        ]),
    ...(ignored.length === 0 ? [] : [`ignored-isolators${suffix}=${ignored.map(({ name }) => name).join(" ")}`]),
  ];
}

/** A value in one word: a limit, the members of a set, names of parameters. */
function short(value: Json): string {
  const text = inShort(value);
  // The value is the image's, and may have any characters.
  return /\s/.test(text) ? JSON.stringify(text) : text;
}

function inShort(value: Json): string {
  if (!isObject(value)) return String(value);
  const { limit, request, set } = value;
  if (limit !== undefined) return String(limit).trim();
  if (request !== undefined) return `request:${String(request).trim()}`;
  return (Array.isArray(set) ? set : Object.keys(value)).join(",");
}

function lines(facts: ContainerFacts, isolators: Isolators | undefined): string {
  const time = (at: number) => new Date(at).toISOString();
  const pairs: string[] = [`state=${facts.phase}`];
  if (facts.createdAt !== undefined) pairs.push(`created=${time(facts.createdAt)}`);
  if (facts.startedAt !== undefined) pairs.push(`started=${time(facts.startedAt)}`);
  if (facts.stage1 !== undefined) pairs.push(`stage1=${facts.stage1}`);
  if (facts.pid !== undefined) pairs.push(`pid=${facts.pid}`);
  const ids = facts.privateUsers;
  if (ids !== undefined) pairs.push(`private-users=${ids.first}:${ids.count}`);
  if (facts.phase === "running") pairs.push(`ready=${facts.ready}`);
  pairs.push(`exited=${facts.phase.startsWith("exited") || facts.phase === "deleting"}`);
  for (const app of facts.apps) if (app.exitCode !== undefined) pairs.push(`app-${app.name}=${app.exitCode}`);
  pairs.push(...isolatorPairs("", isolators?.container ?? []));
  for (const [i, { name }] of facts.apps.entries()) pairs.push(...isolatorPairs(`-${name}`, isolators?.apps[i] ?? []));
  return `${pairs.map(printable).join("\n")}\n`;
}
