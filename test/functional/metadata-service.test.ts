import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, existsSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { startMetadataService } from "../helpers/metadata-service.ts";
import {
  eventually,
  exampleAci,
  finished,
  makeRkt,
  type Rkt,
  requires,
  rktBinary,
  scratchFile,
} from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");

/** What an app gets of an entry, through its own AC_METADATA_URL. */
const get = (entry: string, url = "$AC_METADATA_URL") =>
  `wget -q -O - --header 'Metadata-Flavor: AppContainer' "${url}/acMetadata/v1/${entry}"`;

const shell = (script: string): string[] => [busybox, "--exec=/bin/sh", "--", "-c", script];

/** A container that waits, and its AC_METADATA_URL. */
async function waiting(rkt: Rkt): Promise<{ url: string; uuid: string; end(): Promise<unknown> }> {
  const child = rkt.start(["run", ...shell(`echo "$AC_METADATA_URL"; ${get("pod/uuid")}; echo; exec sleep 1000`)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  child.stdout?.on("data", (chunk) => {
    said += chunk;
  });
  const [url, uuid] = await eventually("two lines", () => {
    const lines = said.split("\n");
    return lines.length > 2 ? (lines as [string, string]) : undefined;
  });
  const done = finished(child);
  return {
    url,
    uuid,
    end: () => {
      child.kill("SIGKILL");
      return done;
    },
  };
}

/** Empty for what is no process, or no longer one. */
function commandLine(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}

const curl = (url: string, ...options: string[]) => {
  const done = spawnSync(
    "curl",
    ["--silent", "--write-out", "\n%{http_code}", "--header", "Metadata-Flavor: AppContainer", ...options, url],
    { encoding: "utf8" },
  );
  const lines = done.stdout.split("\n");
  return { status: Number(lines.pop()), body: lines.join("\n") };
};

test("a container has its own metadata, as long as it runs, and nobody else's", async (t) => {
  if (!requires(t, "root", "build", "curl")) return;
  const rkt = makeRkt(t);
  const service = await startMetadataService(t, rkt);
  const one = await waiting(rkt);
  const two = await waiting(rkt);
  assert.notEqual(one.url, two.url);
  assert.match(one.url, new RegExp(`^${service.url}/[0-9a-f]{64}$`));
  const at = (url: string, entry: string) => `${url}/acMetadata/v1/${entry}`;
  assert.deepEqual(curl(at(one.url, "pod/uuid")), { status: 200, body: one.uuid });
  assert.deepEqual(curl(at(two.url, "pod/uuid")), { status: 200, body: two.uuid });
  const listed: { uuid: string }[] = JSON.parse(rkt.ok(["list", "--format=json"]).stdout);
  assert.deepEqual(listed.map(({ uuid }) => uuid).sort(), [one.uuid, two.uuid].sort());

  assert.equal(curl(at(service.url, "pod/uuid")).status, 403, "no token, and the address is the host's");
  assert.equal(curl(at(`${service.url}/${"0".repeat(64)}`, "pod/uuid")).status, 403);
  const plain = spawnSync("curl", ["--silent", at(one.url, "pod/uuid")], { encoding: "utf8" });
  assert.match(plain.stdout, /no header "Metadata-Flavor: AppContainer"/);

  // What one signs, two can verify, as one's alone.
  const form = (...fields: string[]) => fields.flatMap((field) => ["--data-urlencode", field]);
  const signature = curl(at(one.url, "pod/hmac/sign"), ...form("content=a & b")).body;
  const verify = (...fields: string[]) =>
    curl(at(two.url, "pod/hmac/verify"), ...form(`signature=${signature}`, ...fields)).status;
  assert.equal(verify("content=a & b", `uuid=${one.uuid}`), 200);
  assert.equal(verify("content=a & b", `uuid=${two.uuid}`), 403);
  assert.equal(verify("content=a & c", `uuid=${one.uuid}`), 403);

  await one.end();
  assert.equal(curl(at(one.url, "pod/uuid")).status, 403, "it has ended");
  assert.equal(curl(at(two.url, "pod/uuid")).status, 200);
  await two.end();
  assert.equal(await service.stop(), 0);
});

test("--mds-register needs the service, --mds-register=false does without", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  rkt.fails(
    ["run", "--mds-register", ...shell("true")],
    254,
    /^rkt: run: the metadata service does not run\nhint: .*rkt metadata-service/,
  );
  assert.deepEqual(rkt.containers(), []);
  await startMetadataService(t, rkt);
  assert.equal(rkt.ok(["run", "--mds-register=false", ...shell('echo "[$AC_METADATA_URL]"')]).stdout, "[]\n");
  assert.match(rkt.ok(["run", "--mds-register", ...shell('echo "$AC_METADATA_URL"')]).stdout, /^http:/);
});

test("--spawn-metadata-svc starts one service for many, which ends when it is idle", async (t) => {
  if (!requires(t, "root", "build", "ip")) return;
  const rkt = makeRkt(t);
  const services = () =>
    readdirSync("/proc").filter((pid) => {
      const argv = commandLine(pid);
      return argv.includes("metadata-service") && argv.includes(`--dir=${rkt.dir}`);
    });
  t.after(() => {
    for (const pid of services()) spawnSync("kill", [pid]);
  });
  const runs = [1, 2, 3].map(() =>
    finished(
      rkt.start(["run", "--spawn-metadata-svc", ...shell(get("pod/uuid"))], { stdio: ["ignore", "pipe", "inherit"] }),
    ),
  );
  const uuids = (await Promise.all(runs)).map(({ status, stdout }) => {
    assert.equal(status, 0);
    return stdout;
  });
  assert.equal(new Set(uuids).size, 3);
  assert.equal(services().length, 1);
  await eventually("the service has ended", () => (services().length === 0 ? true : undefined), 30_000);
});

test("there is one service for a data directory, and none is left behind", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const service = await startMetadataService(t, rkt);
  rkt.fails(["metadata-service", "--listen=127.0.0.1:0"], 254, /a metadata service of .* runs already/);
  assert.equal(await service.stop(), 0);
  const busy = createServer().listen(0, "127.0.0.1");
  t.after(() => busy.close());
  await new Promise((resolve) => busy.once("listening", resolve));
  const { port } = busy.address() as { port: number };
  rkt.fails(["metadata-service", `--listen=127.0.0.1:${port}`], 254, /cannot listen on .*EADDRINUSE\nhint: --listen/);
  rkt.fails(["metadata-service", "--listen=here"], 2, /"here" is no address and port/);
  rkt.fails(["run", "--mds-register", ...shell("true")], 254, /does not run/);
});

test("socket activation", async (t) => {
  if (!requires(t, "root", "build", "systemd-socket-activate", "curl")) return;
  const rkt = makeRkt(t);
  mkdirSync(rkt.dir);
  const probe = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => probe.once("listening", resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  const pidFile = join(rkt.scratch, "pid");
  const child = spawn(
    "systemd-socket-activate",
    [`--listen=127.0.0.1:${port}`, rktBinary, `--dir=${rkt.dir}`, "metadata-service", `--pid-file=${pidFile}`],
    { stdio: "ignore" },
  );
  t.after(() => child.kill("SIGKILL"));
  // The first connection starts it.
  await eventually("an answer", () =>
    curl(`http://127.0.0.1:${port}/acMetadata/v1/pod/uuid`).status === 403 ? true : undefined,
  );
  assert.equal(readFileSync(pidFile, "utf8"), `${child.pid}\n`);
  assert.match(rkt.ok(["run", "--mds-register", ...shell(get("pod/uuid"))]).stdout, /^[0-9a-f-]{36}$/);
  child.kill("SIGTERM");
  await finished(child);
  assert.ok(!existsSync(pidFile));
});

test("the units are valid", (t) => {
  if (!requires(t, "build", "systemd-analyze")) return;
  const rkt = makeRkt(t);
  const units = ["rkt-metadata.socket", "rkt-metadata.service"].map((name) => {
    const text = readFileSync(join(import.meta.dirname, "../../examples/systemd", name), "utf8");
    return scratchFile(rkt, name, text.replaceAll("/usr/bin/rkt", rktBinary));
  });
  const done = spawnSync("systemd-analyze", ["verify", "--man=no", ...units], { encoding: "utf8" });
  assert.deepEqual([done.status, done.stderr], [0, ""]);
});
