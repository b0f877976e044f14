import assert from "node:assert/strict";
import { test } from "node:test";
import { ANNOTATIONS } from "../shared/contract/annotations.ts";
import { STAGE1 } from "../shared/contract/stage1-root.ts";
import { bareApp } from "../shared/schema/image-manifest.ts";
import type { App, Isolator, NameValue, PodManifest } from "../shared/schema/types.ts";
import { defaultFilter } from "../shared/seccomp.ts";
import { ALL, capabilityNames } from "./capabilities.ts";
import { type Inherited, type LaunchPlan, launchPlan, type Process } from "./plan.ts";

const IMAGE = `sha512-${"ab".repeat(64)}`;

interface Settings {
  app?: Partial<App>;
  annotations?: NameValue[];
  process?: Process;
  inherited?: Partial<Inherited>;
}

/** Two apps of one image; "web" is the second. */
function plan({ app, annotations = [], process = { app: "web" }, inherited }: Settings): LaunchPlan {
  const runtime = (name: string, settings?: Partial<App>): PodManifest["apps"][number] => ({
    name,
    image: { id: IMAGE, labels: [] },
    app: { ...bareApp(["/bin/web", "--verbose"]), ...settings },
    readOnlyRootFS: false,
    mounts: [],
    annotations: [],
  });
  const manifest: PodManifest = {
    acVersion: "0.8.11",
    acKind: "PodManifest",
    apps: [runtime("db"), runtime("web", app)],
    volumes: [],
    isolators: [],
    annotations,
    ports: [],
    userAnnotations: {},
    userLabels: {},
  };
  return launchPlan(manifest, process, { pid: 7, permitted: ALL, env: {}, ...inherited });
}

const isolators = (...list: [string, Isolator["value"]][]): Partial<App> => ({
  isolators: list.map(([name, value]) => ({ name, value })),
});

test("a plain app", () => {
  const { root, bounding, ...rest } = plan({});
  assert.deepEqual(Array.isArray(root) && root[0], {
    kind: "root",
    // The second app of an image.
    source: `/opt/stage2/sha512-${"ab".repeat(16)}-2/rootfs`,
    attributes: ["nodev"],
  });
  assert.equal(bounding, 0xa80425fbn);
  assert.deepEqual(rest, {
    app: "web",
    helper: "/usr/lib/rkt/exec",
    streams: [
      { fd: 0, fifo: "/rkt/stdio/web.in" },
      { fd: 1, fifo: "/rkt/stdio/web.out" },
      { fd: 2, fifo: "/rkt/stdio/web.err" },
    ],
    openFiles: undefined,
    user: "0",
    group: "0",
    accountRecord: { path: STAGE1.appAccount("web"), use: "write" },
    numeric: [],
    account: undefined,
    supplementaryGIDs: [],
    environment: {
      app: "web",
      environment: [],
      metadataUrl: undefined,
      early: undefined,
      terminal: undefined,
      passed: {},
    },
    workingDirectory: "/",
    argv: ["/bin/web", "--verbose"],
    retained: 0n,
    noNewPrivileges: false,
    narrowsUsers: false,
    rootOfHost: false,
    filter: "default",
    separation: "mounts",
    // Of two apps.
    limits: [{ name: "core", number: 4, limit: { soft: 0n, hard: 0n } }],
    oomScoreAdj: undefined,
    interactive: false,
    cgroups: STAGE1.appCgroups("web"),
    cgroupNamespace: false,
    privateUsers: false,
    listenFds: 0,
    host: undefined,
  });
});

test("an event handler runs its own command as the app, and leaves the app's input alone", () => {
  const settings: Settings = {
    app: { user: "33", eventHandlers: [{ name: "pre-start", exec: ["/bin/prepare", "all"] }] },
    process: { app: "web", event: "pre-start" },
  };
  const { argv, user, streams } = plan(settings);
  assert.deepEqual(argv, ["/bin/prepare", "all"]);
  assert.equal(user, "33");
  assert.deepEqual(
    streams.map(({ fd }) => fd),
    [1, 2],
  );
});

test("annotations: terminal and metadata service", () => {
  const annotations = [
    { name: ANNOTATIONS.interactive, value: "true" },
    { name: ANNOTATIONS.metadataUrl, value: "http://169.254.169.255/x" },
  ];
  const { interactive, environment } = plan({ annotations, inherited: { env: { TERM: "screen", HOME: "/root" } } });
  assert.equal(interactive, true);
  assert.equal(environment.terminal, "screen");
  assert.equal(environment.metadataUrl, "http://169.254.169.255/x");
});

test("TERM belongs to who has the terminal", () => {
  assert.equal(plan({ inherited: { env: { TERM: "screen" } } }).environment.terminal, undefined);
});

test("isolators", () => {
  const app = isolators(
    ["os/linux/capabilities-retain-set", { set: ["CAP_NET_ADMIN", "CAP_KILL"] }],
    ["os/linux/no-new-privileges", true],
  );
  const { bounding, retained, noNewPrivileges } = plan({ app });
  assert.deepEqual(capabilityNames(bounding), ["CAP_KILL", "CAP_NET_ADMIN"]);
  assert.equal(retained, bounding);
  assert.equal(noNewPrivileges, true);
});

test("network interfaces of its own are for who has the right to make them, in the container's network", () => {
  const retain = isolators(["os/linux/capabilities-retain-set", { set: ["CAP_NET_ADMIN"] }]);
  const network = (value: string) => [{ name: ANNOTATIONS.network, value }];
  const users = [{ name: ANNOTATIONS.privateUsers, value: "true" }];
  const insecure = [{ name: ANNOTATIONS.insecure, value: "capabilities" }];
  const cases: [Settings, boolean][] = [
    [{}, false],
    [{ annotations: network("none") }, false],
    [{ app: retain }, false],
    [{ app: retain, annotations: network("host") }, false],
    [{ app: retain, annotations: network("none") }, true],
    [{ app: retain, annotations: network("default") }, true],
    [{ app: retain, annotations: network("none"), inherited: { permitted: 0n } }, false],
    [{ app: retain, annotations: [...network("none"), ...users] }, false],
    [{ annotations: [...network("none"), ...insecure] }, true],
    [{ annotations: insecure }, false],
  ];
  for (const [settings, expected] of cases) {
    const { root } = plan(settings);
    const bound = Array.isArray(root) && root.some((step) => step.kind === "bind" && step.target === "/dev/net/tun");
    assert.equal(bound, expected, JSON.stringify(settings.annotations));
  }
});

test("what the user turns off by name", () => {
  const annotations = [{ name: ANNOTATIONS.insecure, value: "capabilities,paths,seccomp" }];
  const app = isolators(["os/linux/capabilities-retain-set", { set: ["CAP_KILL"] }]);
  const off = plan({ app, annotations });
  assert.equal(off.bounding, (1n << 41n) - 1n);
  assert.equal(off.retained, 0n);
  assert.equal(off.filter, undefined);
  assert.equal(off.separation, undefined);
  const steps = ({ root }: LaunchPlan) => (Array.isArray(root) ? root.map(({ kind }) => kind) : []);
  assert.ok(!steps(off).includes("mask"));
  assert.ok(steps(plan({ app })).includes("mask"));
});

test("filters: the default, the app's own, none", () => {
  const filter = (name: string, set: string[]) => plan({ app: isolators([name, { set }]) }).filter;
  assert.equal(filter("os/linux/seccomp-retain-set", ["@appc.io/all"]), undefined);
  assert.deepEqual(filter("os/linux/seccomp-remove-set", ["mount"]), {
    otherwise: "allow",
    unknown: "allow",
    rules: [{ call: "mount", action: "kill" }],
  });
  const retained = (capability: string) =>
    plan({ app: isolators(["os/linux/capabilities-retain-set", { set: [capability] }]) }).filter;
  assert.equal(retained("CAP_CHOWN"), "default");
  assert.deepEqual(retained("CAP_SYS_ADMIN"), defaultFilter(["CAP_SYS_ADMIN"]));
  assert.deepEqual(retained("CAP_SYSLOG"), defaultFilter(["CAP_SYSLOG"]));
});

test("a domain takes away what is lost least: mounting from whom the filter lets not mount, signals from others", () => {
  const separation = (mode: string, set: string[]) =>
    plan({ app: isolators([`os/linux/seccomp-${mode}-set`, { set }]) }).separation;
  assert.equal(separation("retain", ["read"]), "mounts");
  assert.equal(separation("retain", ["@rkt/default-whitelist"]), "mounts");
  assert.equal(separation("remove", ["@docker/default-blacklist"]), "mounts");
  assert.equal(separation("retain", ["read", "umount2"]), "signals");
  assert.equal(separation("remove", ["mount"]), "signals");
  assert.equal(separation("retain", ["@appc.io/all"]), "signals");
});

const sockets: { name: string; env: Record<string, string>; passed: Record<string, string>; listenFds: number }[] = [
  {
    name: "sockets meant for this process",
    env: { LISTEN_PID: "7", LISTEN_FDS: "2", LISTEN_FDNAMES: "http:https" },
    passed: { LISTEN_PID: "7", LISTEN_FDS: "2", LISTEN_FDNAMES: "http:https" },
    listenFds: 2,
  },
  { name: "sockets meant for another", env: { LISTEN_PID: "8", LISTEN_FDS: "2" }, passed: {}, listenFds: 0 },
  { name: "no number of sockets", env: { LISTEN_PID: "7", LISTEN_FDS: "-1" }, passed: {}, listenFds: 0 },
  { name: "an abstract socket to notify", env: { NOTIFY_SOCKET: "@n" }, passed: { NOTIFY_SOCKET: "@n" }, listenFds: 0 },
  { name: "systemd's other variables", env: { INVOCATION_ID: "1", WATCHDOG_USEC: "1" }, passed: {}, listenFds: 0 },
];

for (const c of sockets)
  test(c.name, () => {
    const result = plan({ inherited: { env: c.env } });
    assert.deepEqual(result.environment.passed, c.passed);
    assert.equal(result.listenFds, c.listenFds);
  });

test("a notification socket moves to where the app expects one", () => {
  const { environment, root } = plan({ inherited: { env: { NOTIFY_SOCKET: "/run/host/notify" } } });
  assert.deepEqual(environment.passed, { NOTIFY_SOCKET: "/run/systemd/notify" });
  const { source, target } = { source: undefined, target: undefined, ...(Array.isArray(root) ? root.at(-1) : {}) };
  assert.deepEqual({ source, target }, { source: "/run/host/notify", target: "/run/systemd/notify" });
});

test("a command that enters: the running app's root, and neither its streams nor its terminal", () => {
  const settings: Settings = {
    annotations: [{ name: ANNOTATIONS.interactive, value: "true" }],
    process: { app: "web", command: ["ls", "-l"] },
    inherited: { env: { RKT_ENTER_FDS: "20,21,22", TERM: "vt100" } },
  };
  const { root, argv, streams, interactive, environment } = plan(settings);
  assert.deepEqual(root, {
    namespace: 20,
    cgroups: [21, 22],
    rootfs: `/opt/stage2/sha512-${"ab".repeat(16)}-2/rootfs`,
  });
  assert.deepEqual({ argv, streams, interactive }, { argv: ["ls", "-l"], streams: [], interactive: false });
  assert.equal(environment.terminal, "vt100");
});

for (const fds of [undefined, "", "2", "20,", "20,x", "-1"])
  test(`refuses to enter with descriptors ${fds}`, () => {
    const env = fds === undefined ? {} : { RKT_ENTER_FDS: fds };
    assert.throws(() => plan({ process: { app: "web", command: ["ls"] }, inherited: { env } }), { code: "usage" });
  });

test("refuses to do without a protection that it does not know", () => {
  assert.throws(() => plan({ annotations: [{ name: ANNOTATIONS.insecure, value: "paths,everything" }] }), {
    code: "bad-layout",
    message: 'there is no protection "everything" to switch off',
  });
});

const refused: { name: string; settings: Settings; code: string; message: RegExp }[] = [
  {
    name: "an app that is not there",
    settings: { process: { app: "api" } },
    code: "no-such-app",
    message: /no app of that name/,
  },
  {
    name: "a handler that is not there",
    settings: { process: { app: "web", event: "post-stop" } },
    code: "no-such-handler",
    message: /it has no post-stop handler/,
  },
  { name: "nothing to execute", settings: { app: { exec: [] } }, code: "no-exec", message: /what to execute/ },
  {
    name: "another layout",
    settings: { annotations: [{ name: ANNOTATIONS.layoutVersion, value: "99" }] },
    code: "bad-layout",
    message: /layout version "99"/,
  },
  {
    name: "isolators that contradict each other",
    settings: {
      app: isolators(
        ["os/linux/capabilities-retain-set", { set: ["CAP_KILL"] }],
        ["os/linux/capabilities-remove-set", { set: ["CAP_KILL"] }],
      ),
    },
    code: "manifest-invalid",
    message: /^container manifest: apps\[1\]\.app\.isolators: must not have both/,
  },
];

for (const c of refused)
  test(`refuses ${c.name}`, () => {
    assert.throws(() => plan(c.settings), { name: /Error$/, code: c.code, message: c.message });
  });

test("a cgroup namespace where the launcher is in its cgroup: on v2, and not for who enters", () => {
  const view = { mountPoint: "/sys/fs/cgroup", controllers: [], source: STAGE1.base, shared: false };
  const wants = (settings: Settings) => plan(settings).cgroupNamespace;
  const enter = { env: { RKT_ENTER_FDS: "5,6" }, cgroups: [view] };
  assert.equal(wants({ inherited: { cgroups: [view] } }), true);
  assert.equal(wants({ inherited: { cgroups: [{ ...view, controllers: ["memory"] }] } }), false);
  assert.equal(wants({ process: { app: "web", command: ["/bin/sh"] }, inherited: enter }), false);
});
