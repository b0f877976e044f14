/** What an app can do to the processes of another app of its container: signal them, and nothing else. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { type TestContext, test } from "node:test";
import { DEFAULT_CAPABILITIES } from "../../shared/schema/capabilities.ts";
import { landlockVersion } from "../../shared/syscall/landlock.ts";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { compileAttack } from "../helpers/attack.ts";
import { eventually, makeRkt, type Rkt, requires, scratchFile } from "../helpers/rkt.ts";

function ready(t: TestContext): boolean {
  if (!requires(t, "root", "build", "gcc")) return false;
  if (landlockVersion() >= 6) return true;
  t.skip(`Landlock's interface has version ${landlockVersion()} here, and not 6`);
  return false;
}

const LOOK = 'until o=$(attack processes) && echo "$o" | grep -q " victim:"; do usleep 50000; done; echo "$o"';

/** Its app waits, under the name of "victim", unless told otherwise. */
function image(rkt: Rkt, app: object = {}): string {
  const entries: Entry[] = [
    { name: "rootfs/bin/busybox", data: readFileSync("/usr/bin/busybox"), mode: 0o755 },
    { name: "rootfs/bin/attack", data: compileAttack(rkt.scratch), mode: 0o755 },
    ...["cat", "grep", "ln", "mkdir", "mv", "sh", "sleep", "usleep"].map(
      (name): Entry => ({ name: `rootfs/bin/${name}`, type: "2", link: "busybox" }),
    ),
  ];
  const text = manifest({ app: { exec: ["/bin/attack", "rename", "victim"], user: "0", group: "0", ...app } });
  return scratchFile(rkt, "neighbour.aci", makeAci(entries, text));
}

/** Runs until what the apps print has been said by one of them, and answers it. */
async function untilLooked(rkt: Rkt, args: readonly string[]): Promise<string> {
  const child = rkt.start(args);
  let said = "";
  let problem = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  child.stderr?.on("data", (chunk: Buffer) => {
    problem += chunk.toString();
  });
  await eventually("it has looked", () => {
    assert.equal(child.exitCode, null, problem);
    return said.includes("looked\n") ? true : undefined;
  });
  return said;
}

const stopAll = (rkt: Rkt): void => {
  for (const path of rkt.containers()) rkt.run(["stop", "--force", basename(path)]);
};

/** What can be had of the process of that name. */
const had = (said: string, name: string): string | undefined => new RegExp(`^\\d+ ${name}:(.*)$`, "m").exec(said)?.[1];

const as = (user: number): string[] => [`--user=${user}`, `--group=${user}`, "--working-dir=/"];
const ALL_OF_IT = ["root", "cwd", "exe", "fd", "environ", "maps", "mem"];

interface Case {
  name: string;
  before?: string[];
  options?: string[];
  from: string[];
  to: string[];
  /** How many descriptors there are is for root to see, by CAP_DAC_OVERRIDE. */
  can: string | RegExp;
}

const cases: Case[] = [
  { name: "root of root", from: as(0), to: as(0), can: " fds signal" },
  { name: "root of a user", from: as(0), to: as(1000), can: " fds signal" },
  { name: "a user of root", from: as(1000), to: as(0), can: "" },
  { name: "a user of the same user", from: as(1000), to: as(1000), can: " fds signal" },
  { name: "a user of another", from: as(1001), to: as(1000), can: "" },
  { name: "root of root, in users of the container's own", options: ["--private-users"], from: as(0), to: as(0), can: " fds signal" },
  {
    name: "root with CAP_SYS_PTRACE, and the calls that come with it",
    from: ["--caps-retain=CAP_SYS_PTRACE,CAP_DAC_OVERRIDE,CAP_KILL"],
    to: as(1000),
    can: " fds signal",
  },
  {
    name: "root with every capability that users of the container's own have",
    before: ["--insecure-options=capabilities"],
    options: ["--private-users"],
    from: as(0),
    to: as(0),
    can: " fds signal",
  },
  {
    // A kernel of late lets it read what tells about memory, whatever security modules say (mm_access).
    name: "root with CAP_SYS_ADMIN over the host",
    from: [`--caps-retain=${[...DEFAULT_CAPABILITIES, "CAP_SYS_ADMIN"].join()}`],
    to: as(0),
    can: /^ fds( environ maps auxv)? signal$/,
  },
  { name: "root without a filter, for which signals are the price", from: ["--seccomp=mode=retain,@appc.io/all"], to: as(0), can: " fds" },
];

test("apps of one container reach no process of each other", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const file = image(rkt);
  const look = (c: Case) => {
    const victim = [file, "--name=victim", ...c.to];
    const other = [file, "--name=other", ...c.from, "--exec=/bin/sh", "--", "-c", LOOK];
    return untilLooked(rkt, [...(c.before ?? []), "run", ...(c.options ?? []), ...victim, "---", ...other]);
  };
  for (const c of cases)
    await t.test(c.name, async () => {
      const said = await look(c);
      if (typeof c.can === "string") assert.equal(had(said, "victim"), c.can);
      else assert.match(had(said, "victim") ?? "none", c.can);
      // Nor those of stage 1.
      for (const line of typeof c.can === "string" ? (said.match(/^\d+ .*$/gm) ?? []) : [])
        assert.doesNotMatch(line, /: .*\b(?:readlink|root|cwd|exe|fd|environ|maps|auxv|mem|ptrace|process_vm_readv|pidfd_getfd)\b/);
      stopAll(rkt);
    });
  await t.test("without filter and domain, by name: it is these that keep them apart", async () => {
    const said = await look({ name: "", before: ["--insecure-options=seccomp"], from: as(0), to: as(0), can: "" });
    for (const part of ALL_OF_IT) assert.ok(had(said, "victim")?.split(" ").includes(part), `${part}: ${said}`);
    stopAll(rkt);
  });
});

test("nor do event handlers, and what `rkt enter` runs", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const file = image(rkt, { eventHandlers: [{ name: "pre-start", exec: ["/bin/sh", "-c", LOOK] }] });
  const victim = image(makeRkt(t));
  const said = await untilLooked(rkt, ["run", victim, "--name=victim", "---", file, "--name=other", "--exec=/bin/sleep", "--", "1000"]);
  assert.equal(had(said, "victim"), " fds signal");
  const uuid = basename(rkt.containers()[0] ?? "");
  const entered = await eventually("the other runs", () => {
    const result = rkt.run(["enter", "--app=other", uuid, "/bin/attack", "processes"]);
    return result.status === 0 ? result.stdout : undefined;
  });
  assert.equal(had(entered, "victim"), " fds signal");
  // Its own app is signalled as before, and not traced.
  assert.equal(had(entered, "sleep"), " fds signal");
});

test("a domain takes nothing else away: moves between directories, links, domains of the app's own", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const script = `set -e
for d in / /data /dev/shm; do
  mkdir -p $d/a/dir $d/b; echo 1 >$d/a/f; mv $d/a/f $d/b/g; ln $d/b/g $d/a/h; mv $d/a/dir $d/b/dir; cat $d/a/h
done
attack domains`;
  const file = image(rkt, { exec: ["/bin/sh", "-c", script] });
  for (const options of [[], ["--private-users"], ["--no-overlay"]]) {
    const { stdout } = rkt.ok(["run", ...options, "--volume=data,kind=empty", file, "--mount=volume=data,target=/data"]);
    // The kernel has 16 for each process, and one is ours.
    assert.equal(stdout, "1\n1\n1\n15 domains, then E2BIG\n");
  }
});
