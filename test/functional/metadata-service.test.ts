import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, existsSync } from "node:fs";
import { get as ask, type IncomingMessage } from "node:http";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
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

interface Waiting {
  url: string;
  uuid: string;
  child: ChildProcess;
  done: Promise<unknown>;
  /** Kills it. */
  end(): Promise<unknown>;
}

/** A container that waits, and its AC_METADATA_URL. */
async function waiting(rkt: Rkt): Promise<Waiting> {
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
    child,
    done,
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
  for (const entry of ["pod/manifest", "pod/annotations"]) {
    const { status, body } = curl(at(one.url, entry));
    assert.deepEqual([status, body.includes(one.url)], [200, false], `${entry} without the token`);
  }
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

const activation = (dir: string): string => join(dir, "metadata", "activate.sock");

interface Activated {
  child: ChildProcess;
  /** What it becomes at the first connection has begun. */
  isAwake(): boolean;
}

/** Sockets as systemd has them, of which the first connection starts a program: the service, unless told. */
async function activated(
  t: TestContext,
  rkt: Rkt,
  { unix = "last", program = service(rkt.dir) }: { unix?: "first" | "last" | "only"; program?: string[] } = {},
): Promise<Activated> {
  mkdirSync(join(rkt.dir, "metadata"), { recursive: true });
  const path = activation(rkt.dir);
  const address = `127.0.0.1:${await freePort()}`;
  const sockets = { first: [path, address], last: [address, path], only: [path] }[unix];
  const argv = [...sockets.map((socket) => `--listen=${socket}`), ...program];
  const child = spawn("systemd-socket-activate", argv, { stdio: ["ignore", "ignore", "pipe"] });
  t.after(() => child.kill("SIGKILL"));
  let said = "";
  child.stderr?.on("data", (chunk) => {
    said += chunk;
  });
  await eventually("all listen", () => (said.split("Listening on").length > sockets.length ? true : undefined));
  return { child, isAwake: () => commandLine(String(child.pid))[0] !== "systemd-socket-activate" };
}

const service = (dir: string): string[] => [rktBinary, `--dir=${dir}`, "metadata-service"];

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => probe.once("listening", resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

const activatable = (t: TestContext): boolean => requires(t, "root", "build", "systemd-socket-activate");

for (const [unix, ...options] of [["last", "--mds-register"], ["first"], ["last", "--spawn-metadata-svc"]] as [
  "first" | "last",
  ...string[],
][])
  test(`socket activation by rkt run ${options}, Unix socket ${unix}`, async (t) => {
    if (!activatable(t)) return;
    const rkt = makeRkt(t);
    const pidFile = join(rkt.scratch, "pid");
    const { child, isAwake } = await activated(t, rkt, {
      unix,
      program: [...service(rkt.dir), `--pid-file=${pidFile}`],
    });
    rkt.ok(["run", "--mds-register=false", ...shell("true")]);
    rkt.ok(["list"]);
    assert.ok(!isAwake(), "nobody has asked for it");
    const run = ["run", ...options, ...shell(get("pod/uuid"))];
    const first = rkt.ok(run);
    assert.equal(readFileSync(pidFile, "utf8"), `${child.pid}\n`, "it is the one that the sockets are of");
    const second = rkt.ok(run);
    assert.notEqual(first.stdout, second.stdout);
    for (const { stdout, stderr } of [first, second]) {
      assert.match(stdout, /^[0-9a-f-]{36}$/);
      assert.equal(stderr, "");
    }
    child.kill("SIGTERM");
    assert.equal((await finished(child)).status, 0);
    assert.ok(!existsSync(pidFile));
    assert.ok(existsSync(activation(rkt.dir)), "the socket is systemd's");
  });

test("socket activation by rkt prepare", async (t) => {
  if (!activatable(t)) return;
  const rkt = makeRkt(t);
  await activated(t, rkt);
  const uuid = rkt.ok(["prepare", "--mds-register", ...shell(get("pod/uuid"))]).stdout.trim();
  assert.equal(rkt.ok(["run-prepared", uuid]).stdout, uuid);
});

test("many at once wake one service, which by itself listens where it is told", async (t) => {
  if (!activatable(t)) return;
  const rkt = makeRkt(t);
  await activated(t, rkt, { unix: "only", program: [...service(rkt.dir), "--listen=127.0.0.1:0"] });
  const runs = Array.from({ length: 5 }, () =>
    finished(rkt.start(["run", "--mds-register", ...shell(get("pod/uuid"))], { stdio: ["ignore", "pipe", "inherit"] })),
  );
  const done = await Promise.all(runs);
  assert.deepEqual(
    done.map(({ status }) => status),
    [0, 0, 0, 0, 0],
  );
  assert.equal(new Set(done.map(({ stdout }) => stdout)).size, 5);
});

test("the socket that wakes the service says nothing", async (t) => {
  if (!activatable(t)) return;
  const rkt = makeRkt(t);
  const { isAwake } = await activated(t, rkt);
  const socket = connect({ path: activation(rkt.dir) });
  let said = "";
  socket.on("data", (part) => {
    said += part;
  });
  socket.on("error", () => {});
  socket.write("GET /acMetadata/v1/pod/uuid HTTP/1.1\r\nHost: a\r\n\r\n");
  await new Promise((resolve) => socket.once("close", resolve));
  assert.deepEqual([said, isAwake()], ["", true]);
});

const NO_REGISTRATION = shell('echo "[$AC_METADATA_URL]"');

test("a socket that nobody listens at is none", async (t) => {
  if (!activatable(t)) return;
  const rkt = makeRkt(t);
  const { child } = await activated(t, rkt);
  child.kill("SIGKILL");
  await finished(child);
  assert.ok(existsSync(activation(rkt.dir)));
  const { stdout, stderr } = rkt.ok(["run", ...NO_REGISTRATION]);
  assert.deepEqual([stdout, stderr], ["[]\n", ""]);
  rkt.fails(["run", "--mds-register", ...shell("true")], 254, /^rkt: run: the metadata service does not run\nhint: /);
});

for (const [name, program] of [
  ["serves another data directory", (other: string) => service(other)],
  ["fails", () => ["/bin/false"]],
  ["hangs", () => ["/bin/sleep", "1000"]],
] as [string, (other: string) => string[]][])
  for (const required of [false, true])
    test(`${required ? "--mds-register" : "a plain run"}, when the service that is woken ${name}`, async (t) => {
      if (!activatable(t)) return;
      const rkt = makeRkt(t);
      await activated(t, rkt, { program: program(join(rkt.scratch, "other")) });
      const begun = Date.now();
      const failure = `systemd did not start the metadata service at a connection to ${activation(rkt.dir)}`;
      if (required) {
        const refusal = new RegExp(`^rkt: run: ${failure}\nhint: the journal of systemd's unit says why`);
        rkt.fails(["run", "--mds-register", ...shell("true")], 254, refusal);
        assert.deepEqual(rkt.containers(), []);
      } else {
        const { stdout, stderr } = rkt.ok(["run", ...NO_REGISTRATION]);
        assert.deepEqual([stdout, stderr], ["[]\n", `rkt: warning: ${failure}: the container is not registered\n`]);
      }
      assert.ok(Date.now() - begun < 20_000);
    });

test("a container without a network is not registered, and not silently if it was to be", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  await startMetadataService(t, rkt);
  assert.equal(rkt.ok(["run", "--net=none", ...NO_REGISTRATION]).stdout, "[]\n");
  for (const option of ["--mds-register", "--spawn-metadata-svc"])
    rkt.fails(
      ["run", "--net=none", option, ...NO_REGISTRATION],
      254,
      /^rkt: run: a container without a network cannot reach the metadata service\nhint: give it one with --net, /,
    );
  rkt.fails(
    ["run", "--net", "--mds-register", ...NO_REGISTRATION],
    254,
    /listens on http:\/\/127\.0\.0\.1:\d+, which a container with a network of its own cannot reach\nhint: /,
  );
});

test("a registration ends with its container, however that ends", async (t) => {
  if (!requires(t, "root", "build", "curl")) return;
  const rkt = makeRkt(t);
  await startMetadataService(t, rkt);
  const ends: [name: string, end: (one: Waiting) => void][] = [
    ["rkt is killed", ({ child }) => child.kill("SIGKILL")],
    ["its first process is killed", ({ uuid }) => process.kill(firstProcess(rkt, uuid), "SIGKILL")],
    ["it is stopped", ({ uuid }) => rkt.ok(["stop", uuid])],
    ["it is stopped by force", ({ uuid }) => rkt.ok(["stop", "--force", uuid])],
  ];
  for (const [name, end] of ends) {
    const one = await waiting(rkt);
    const ask = () => curl(`${one.url}/acMetadata/v1/pod/uuid`).status;
    assert.equal(ask(), 200);
    end(one);
    await one.done;
    // Not eventually: when rkt has ended, so has the registration.
    assert.equal(ask(), 403, name);
  }
});

/** The one that the container's others are children of. */
function firstProcess(rkt: Rkt, uuid: string): number {
  const supervisor = readFileSync(join(rkt.dir, "containers/run", uuid, "pid"), "utf8").trim();
  const children = readFileSync(`/proc/${supervisor}/task/${supervisor}/children`, "utf8").trim();
  return Number(children === "" ? supervisor : children.split(" ")[0]);
}

test("a token is all it takes: who is told it, is that container", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  await startMetadataService(t, rkt);
  const one = await waiting(rkt);
  assert.equal(rkt.ok(["run", ...shell(get("pod/uuid", one.url))]).stdout, one.uuid);
  await one.end();
});

test("ten thousand requests of garbage harm nobody", async (t) => {
  if (!requires(t, "root", "build", "curl")) return;
  const rkt = makeRkt(t);
  const { url, pid } = await startMetadataService(t, rkt);
  const one = await waiting(rkt);
  const { hostname, port } = new URL(url);
  const headers = "HTTP/1.1\r\nHost: a\r\nMetadata-Flavor: AppContainer\r\n\r\n";
  // Requests, nine on a connection, and what ends each connection.
  const requests = [
    `GET /${"0".repeat(64)}/acMetadata/v1/pod/uuid ${headers}`,
    `GET /%zz ${headers}`,
    `HEAD /${"a/".repeat(2000)} ${headers}`,
  ].join("");
  const ends = [
    randomBytes(2000).toString("latin1"),
    `GET /${"a/".repeat(20_000)} ${headers}`,
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
    `${"X".repeat(50)} / ${headers}`,
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "",
  ];
  const send = (text: string) =>
    new Promise<void>((resolve) => {
      const socket = connect({ host: hostname, port: Number(port) });
      socket.on("error", () => {});
      socket.once("close", () => resolve());
      socket.resume();
      socket.on("connect", () => socket.end(text, "latin1"));
    });
  let next = 0;
  const senders = Array.from({ length: 100 }, async () => {
    while (next < 1000) await send(requests.repeat(3) + ends[next++ % ends.length]);
  });
  const asked: number[] = [];
  const asking = (async () => {
    while (next < 1000) {
      // From another address: of one with too many connections the service closes the longest silent.
      const options = { localAddress: "127.0.0.2", headers: { "Metadata-Flavor": "AppContainer" } };
      const [answer] = (await once(ask(`${one.url}/acMetadata/v1/pod/uuid`, options), "response")) as [IncomingMessage];
      assert.equal(await text(answer), one.uuid);
      asked.push(answer.statusCode ?? 0);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  await Promise.all([...senders, asking]);
  assert.ok(asked.length > 0 && asked.every((status) => status === 200));
  assert.equal(curl(`${one.url}/acMetadata/v1/pod/uuid`).body, one.uuid);
  const descriptors = () => readdirSync(`/proc/${pid}/fd`).length;
  await eventually("their connections are gone", () => (descriptors() < 100 ? true : undefined));
  const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  assert.ok(Number(peak) < 400 * 1024, `${peak} kB`);
  await one.end();
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
