import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { extractTree } from "../../build/extract.ts";
import { stage1Assets } from "../../build/script-names.ts";
import { NOTIFY_ANNOTATION, STOP_SIGNAL_ANNOTATION, STOP_TIMEOUT_ANNOTATION } from "../../shared/contract/annotations.ts";
import { bareApp } from "../../shared/schema/image-manifest.ts";
import type { App, NameValue, PodManifest } from "../../shared/schema/types.ts";
import { containerUnits, stopTimeDropIns } from "./units.ts";

const imageId = `sha512-${"a".repeat(128)}`;

function manifest(...apps: { name: string; app?: Partial<App>; annotations?: NameValue[] }[]): PodManifest {
  return {
    acVersion: "0.8.11",
    acKind: "PodManifest",
    apps: apps.map(({ name, app, annotations = [] }) => ({
      name,
      image: { id: imageId, labels: [] },
      app: { ...bareApp(["/bin/x"]), ...app },
      readOnlyRootFS: false,
      mounts: [],
      annotations,
    })),
    volumes: [],
    isolators: [],
    annotations: [],
    ports: [],
    userAnnotations: {},
    userLabels: {},
  };
}

const text = (units: ReturnType<typeof containerUnits>, name: string): string | undefined =>
  units.find((unit) => unit.name === name)?.text;

test("one app: the target that starts it, and its service", () => {
  const units = containerUnits(manifest({ name: "etcd" }), "pipe");
  assert.deepEqual(
    units.map((unit) => unit.name),
    ["default.target", "rkt-alive.target", "app-etcd.service", "rkt-ready.socket", "rkt-ready.service"],
  );
  assert.equal(
    text(units, "default.target"),
    `[Unit]
Description=Apps of the container
DefaultDependencies=no
Wants=app-etcd.service rkt-ready.socket
`,
  );
  assert.equal(
    text(units, "rkt-alive.target"),
    `[Unit]
Description=Apps are running
DefaultDependencies=no
StopWhenUnneeded=yes
Conflicts=exit.target
SuccessAction=exit-force
JobTimeoutSec=30
JobTimeoutAction=exit-force
`,
  );
  assert.equal(
    text(units, "app-etcd.service"),
    `[Unit]
Description=Application etcd
DefaultDependencies=no
After=rkt-alive.target
Conflicts=exit.target
Wants=rkt-alive.target
FailureAction=exit
FailureActionExitStatus=254

[Service]
Type=simple
ExecStart=/usr/lib/rkt/launcher etcd
ExecStop=-/usr/lib/rkt/ask etcd 15 10
ExecStopPost=/usr/lib/rkt/record etcd
TimeoutStartSec=infinity
TimeoutStopSec=15
KillSignal=15
KillMode=mixed
SendSIGKILL=yes
StandardInput=null
StandardOutput=null
StandardError=null
`,
  );
});

test("an app's own stop signal and time; systemd's limits stay behind them", () => {
  const annotations = [
    { name: STOP_SIGNAL_ANNOTATION, value: "SIGQUIT" },
    { name: STOP_TIMEOUT_ANNOTATION, value: "90" },
  ];
  const units = containerUnits(manifest({ name: "x", annotations }, { name: "y" }), "pipe");
  const own = text(units, "app-x.service") ?? "";
  for (const line of ["ExecStop=-/usr/lib/rkt/ask x 3 90", "TimeoutStopSec=95", "KillSignal=3"])
    assert.ok(own.includes(`${line}\n`), own);
  assert.match(text(units, "app-y.service") ?? "", /^ExecStop=-\/usr\/lib\/rkt\/ask y 15 10$/m);
  assert.match(text(units, "rkt-alive.target") ?? "", /^JobTimeoutSec=140$/m);
});

test("rkt stop --time: what the units say then", () => {
  assert.deepEqual(stopTimeDropIns(manifest({ name: "x" }, { name: "y" }), 60), [
    { name: "rkt-alive.target.d/stop-time.conf", text: "[Unit]\nJobTimeoutSec=160\n" },
    { name: "app-x.service.d/stop-time.conf", text: "[Service]\nTimeoutStopSec=65\n" },
    { name: "app-y.service.d/stop-time.conf", text: "[Service]\nTimeoutStopSec=65\n" },
  ]);
});

test("on cgroup v1 what an app leaves behind is not systemd's to kill", () => {
  const units = containerUnits(manifest({ name: "x" }), "pipe", { version1: true });
  assert.match(text(units, "app-x.service") ?? "", /^KillMode=process$/m);
});

test("apps start in the manifest's order", () => {
  const units = containerUnits(manifest({ name: "a" }, { name: "b" }, { name: "c" }), "pipe");
  assert.match(text(units, "app-a.service") ?? "", /^After=rkt-alive\.target$/m);
  assert.match(text(units, "app-b.service") ?? "", /^After=rkt-alive\.target app-a\.service$/m);
  assert.match(text(units, "app-c.service") ?? "", /^After=rkt-alive\.target app-b\.service$/m);
});

test("event handlers run before and after the app, the record first", () => {
  const app = {
    eventHandlers: [
      { name: "pre-start" as const, exec: ["/a"] },
      { name: "post-stop" as const, exec: ["/b"] },
    ],
  };
  const service = text(containerUnits(manifest({ name: "x", app }), "pipe"), "app-x.service") ?? "";
  assert.deepEqual(
    service.split("\n").filter((line) => line.startsWith("Exec")),
    [
      "ExecStart=/usr/lib/rkt/launcher x",
      "ExecStop=-/usr/lib/rkt/ask x 15 10",
      "ExecStartPre=/usr/lib/rkt/handler x pre-start 300",
      "ExecStopPost=-/usr/lib/rkt/record x",
      "ExecStopPost=/usr/lib/rkt/handler x post-stop 8",
    ],
  );
});

test("the mark of readiness comes after all apps, and only if all have been started", () => {
  const units = containerUnits(manifest({ name: "a" }, { name: "b" }), "pipe");
  assert.equal(
    text(units, "rkt-ready.socket"),
    `[Unit]
Description=All apps are ready
DefaultDependencies=no
Requires=app-a.service app-b.service
After=app-a.service app-b.service
Conflicts=exit.target

[Socket]
ListenFIFO=/rkt/status/_ready
SocketMode=0400
`,
  );
});

test("an app that says it is ready is started when it has said so", () => {
  const pod = manifest({ name: "a" }, { name: "b" });
  const says = { name: NOTIFY_ANNOTATION, value: "true" };
  const apps = pod.apps.map((app) => ({
    ...app,
    annotations: app.name === "a" ? [says] : [{ ...says, value: "false" }],
  }));
  const units = containerUnits({ ...pod, apps }, "pipe");
  assert.match(text(units, "app-a.service") ?? "", /^Type=notify\nNotifyAccess=all$/m);
  assert.match(text(units, "app-b.service") ?? "", /^Type=simple$/m);
});

test("an app's sockets: one unit per port, before the app, and gone with it", () => {
  const port = { name: "www", protocol: "tcp", port: 80, count: 2, socketActivated: true };
  const ports = [
    port,
    { ...port, name: "dns", protocol: "udp", port: 53, count: 1 },
    { ...port, socketActivated: false },
  ];
  const units = containerUnits(manifest({ name: "x", app: { ports } }), "pipe");
  assert.equal(
    text(units, "app-x.www.socket"),
    `[Unit]
Description=Port www of application x
DefaultDependencies=no
After=rkt-alive.target
Conflicts=exit.target
BindsTo=app-x.service
FailureAction=exit
FailureActionExitStatus=254

[Socket]
ListenStream=80
ListenStream=81
BindIPv6Only=both
FileDescriptorName=www
Service=app-x.service
ExecStopPost=/usr/lib/rkt/no-socket x www
`,
  );
  assert.match(text(units, "app-x.dns.socket") ?? "", /^ListenDatagram=53$/m);
  const service = text(units, "app-x.service") ?? "";
  for (const line of [
    "Requires=app-x.www.socket app-x.dns.socket",
    "After=app-x.www.socket app-x.dns.socket",
    "StartLimitIntervalSec=infinity",
    "StartLimitBurst=1",
  ])
    assert.ok(service.includes(`\n${line}\n`), line);
});

test("a socket that a service manager has opened is the unit's that has its address, and loaded early", () => {
  const port = { name: "www", protocol: "tcp", port: 80, count: 2, socketActivated: true };
  const pod = manifest({ name: "x", app: { ports: [port, { ...port, name: "dns", protocol: "udp", port: 53, count: 1 }] } });
  const passed = [
    { fd: 3, protocol: "tcp" as const, address: "127.0.0.1:81", port: 81 },
    { fd: 4, protocol: "tcp" as const, address: "[0:0:0:0:0:0:0:1]:81", port: 81 },
  ];
  const units = containerUnits(pod, "pipe", { sockets: passed });
  const listens = (text(units, "app-x.www.socket") ?? "").split("\n").filter((line) => line.startsWith("Listen"));
  assert.deepEqual(listens, ["ListenStream=80", "ListenStream=127.0.0.1:81", "ListenStream=[0:0:0:0:0:0:0:1]:81"]);
  assert.match(text(units, "app-x.dns.socket") ?? "", /^ListenDatagram=53$/m);
  assert.equal(text(units, "system.slice.d/passed-sockets.conf"), "[Unit]\nBefore=app-x.www.socket\n");
  assert.equal(text(containerUnits(pod, "pipe"), "system.slice.d/passed-sockets.conf"), undefined);
});

test("how long a pre-start handler may take", () => {
  const app = { eventHandlers: [{ name: "pre-start" as const, exec: ["/a"] }] };
  const pod = (value: string): PodManifest => {
    const plain = manifest({ name: "x", app });
    const annotations = [{ name: "coreos.com/rocket/pre-start-timeout", value }];
    return { ...plain, apps: plain.apps.map((runtime) => ({ ...runtime, annotations })) };
  };
  assert.match(
    text(containerUnits(pod("7"), "pipe"), "app-x.service") ?? "",
    /^ExecStartPre=\/usr\/lib\/rkt\/handler x pre-start 7$/m,
  );
  for (const value of ["0", "-1", "soon", "1234567"])
    assert.throws(() => containerUnits(pod(value), "pipe"), { code: "bad-annotation" });
});

test("limits are properties of the unit", () => {
  const limits = new Map([["x", { memory: 1024n, memoryRequest: undefined, cpu: 250n, cpuShares: 2 }]]);
  const service =
    text(containerUnits(manifest({ name: "x" }, { name: "y" }), "pipe", { limits }), "app-x.service") ?? "";
  assert.deepEqual(service.trim().split("\n").slice(-5), [
    "MemoryMax=1024",
    "MemorySwapMax=0",
    "OOMPolicy=continue",
    "CPUQuota=25.0%",
    "CPUWeight=1",
  ]);
});

test("an interactive app has the terminal as its controlling one", () => {
  const service = text(containerUnits(manifest({ name: "x" }), "interactive"), "app-x.service") ?? "";
  assert.match(service, /^StandardInput=tty-force$/m);
  assert.match(service, /^TTYPath=\/rkt\/terminal$/m);
});

test("systemd-analyze verify accepts them together with the stage1 image's own", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "rkt-units-"));
  t.after(() => rmSync(root, { recursive: true }));
  await extractTree(stage1Assets("stage1/nspawn/rootfs"), root);
  const dir = join(root, "etc/systemd/system");
  mkdirSync(dir, { recursive: true });
  for (const path of ["usr/bin", "usr/lib/rkt", "usr/lib/systemd"]) mkdirSync(join(root, path), { recursive: true });
  for (const path of ["usr/bin/true", "usr/lib/rkt/launcher"])
    writeFileSync(join(root, path), "#!/bin/sh\n", { mode: 0o755 });
  const handlers = ["pre-start" as const, "post-stop" as const].map((name) => ({ name, exec: ["/x"] }));
  const limits = new Map([["a", { memory: 1n << 30n, memoryRequest: 1n << 20n, cpu: 1n, cpuShares: 262_144 }]]);
  const ports = [{ name: "www", protocol: "tcp", port: 80, count: 1, socketActivated: true }];
  const pod = manifest({ name: "a", app: { eventHandlers: handlers, ports } }, { name: "b" });
  const units = containerUnits(pod, "pipe", { limits });
  for (const unit of units) writeFileSync(join(dir, unit.name), unit.text);
  const verify = spawnSync(
    "systemd-analyze",
    ["verify", `--root=${root}`, "--man=no", ...units.map((unit) => unit.name)],
    {
      encoding: "utf8",
      env: { ...process.env, SYSTEMD_LOG_LEVEL: "warning" },
    },
  );
  assert.equal(verify.stderr, "");
  assert.equal(verify.status, 0);
});
