/**
 * The example images do what their READMEs say. Each container shares a
 * network namespace of the test's own, where the examples' ports are free.
 */

import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { chownSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import {
  dist,
  eventually,
  exampleAci,
  finished,
  makeRkt,
  type Result,
  type Rkt,
  requires,
  rktBinary,
} from "../helpers/rkt.ts";

interface Running {
  /** Runs a program in the container's network; its output when it succeeds. */
  inNetwork(program: string, ...args: string[]): string | undefined;
  done: Promise<Result>;
  child: ChildProcess;
  /** SIGTERM, and what rkt then returned. */
  stop(): Promise<Result>;
}

function start(t: TestContext, rkt: Rkt, ...words: string[]): Running {
  const line = [rktBinary, `--dir=${rkt.dir}`, "run", "--net=host", ...words];
  const child = spawn("unshare", ["--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', ...line]);
  t.after(() => child.kill("SIGKILL"));
  const done = finished(child);
  return {
    child,
    done,
    inNetwork(program, ...args) {
      const run = spawnSync("nsenter", [`--net=/proc/${child.pid}/ns/net`, program, ...args], { encoding: "utf8" });
      return run.status === 0 ? run.stdout : undefined;
    },
    stop() {
      child.kill("SIGTERM");
      return done;
    },
  };
}

/** Fails at once, with what rkt said, when the container ends before the probe gives something. */
async function answers(running: Running, what: string, probe: () => string | undefined): Promise<string> {
  const early = running.done.then(({ status, stderr }) => assert.fail(`rkt ended with ${status}:\n${stderr}`));
  return await Promise.race([eventually(what, probe), early]);
}

const ready = (t: TestContext): boolean => requires(t, "root", "build", "curl", "ip", "unshare", "nsenter");

test("busybox: a program of the image, with arguments", (t) => {
  if (!ready(t)) return;
  const { stdout } = makeRkt(t).ok(["run", exampleAci("busybox"), "--exec", "/bin/echo", "--", "hello"]);
  assert.equal(stdout, "hello\n");
});

test("etcd answers over HTTP, as a user of its own, and ends in order", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const volume = ["--volume", "data-dir,kind=empty,uid=500,gid=500,mode=0700"];
  const etcd = start(t, rkt, ...volume, exampleAci("etcd"));
  const ask = (path: string, json?: object) => {
    const data = json === undefined ? [] : ["--data", JSON.stringify(json)];
    return etcd.inNetwork("curl", "--silent", "--fail", `http://127.0.0.1:2379${path}`, ...data);
  };
  await answers(etcd, "etcd is healthy", () => ask("/health"));
  assert.match(ask("/version") ?? "", /"etcdserver":"3\.\d+\.\d+"/);
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  assert.ok(ask("/v3/kv/put", { key: base64("hello"), value: base64("world") }) !== undefined);
  const { kvs } = JSON.parse(ask("/v3/kv/range", { key: base64("hello") }) ?? "{}");
  assert.equal(kvs[0].value, base64("world"));

  const [container = ""] = rkt.containers();
  const listing = execFileSync("stat", [
    "-c",
    "%u:%g",
    join(rkt.dir, "containers", container, "volumes/data-dir/member"),
  ]);
  assert.equal(listing.toString(), "500:500\n");
  const { stderr } = await etcd.stop();
  assert.match(stderr, /received terminated signal, shutting down/);
});

test("redis: what was stored is there when another container gets the same volume", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const data = join(rkt.scratch, "redis");
  mkdirSync(data, { mode: 0o700 });
  chownSync(data, 500, 500);
  const volume = ["--volume", `data:${data}`];
  // Its protocol takes plain lines; telnet:// sends what it reads, and QUIT makes the server end the connection.
  const tell = (redis: Running, command: string) => {
    const send = `printf '%s\\r\\nQUIT\\r\\n' '${command}' | curl --silent --max-time 10 telnet://127.0.0.1:6379`;
    return redis.inNetwork("sh", "-c", send);
  };

  const first = start(t, rkt, ...volume, exampleAci("redis"));
  await answers(first, "redis answers", () => tell(first, "PING"));
  assert.equal(tell(first, "SET greeting hello"), "+OK\r\n+OK\r\n");
  await first.stop();
  assert.ok(readdirSync(data).length > 0);

  const second = start(t, rkt, ...volume, exampleAci("redis"));
  await answers(second, "redis answers again", () => tell(second, "PING"));
  assert.equal(tell(second, "GET greeting"), "$5\r\nhello\r\n+OK\r\n");
  await second.stop();
});

test("hello-server and hello-client: one app reads what the other serves, in one container", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const both = start(t, rkt, exampleAci("hello-server"), exampleAci("hello-client"));
  let printed = "";
  both.child.stdout?.on("data", (chunk: Buffer) => {
    printed += chunk.toString();
  });
  const page = "hello from another app of the same container\n";
  await answers(both, "the client has printed the page", () => (printed === page ? page : undefined));
  assert.equal((await both.stop()).stdout, page);
});

test("every image in dist is valid to actool", (t) => {
  if (!requires(t, "build", "actool")) return;
  const examples = readdirSync(join(dist, "examples")).filter((name) => name.endsWith(".aci"));
  assert.ok(examples.length >= 5, `${examples}`);
  const stage1 = join(dist, "stage1-nspawn.aci");
  for (const aci of [stage1, ...examples.map((name) => join(dist, "examples", name))])
    execFileSync("actool", ["validate", aci], { stdio: "pipe" });
});
