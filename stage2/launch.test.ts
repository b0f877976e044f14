/**
 * The order of the drop, on a kernel that only writes down what it is asked:
 * each step of `launch` has a reason to stand where it stands.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ANNOTATIONS } from "../shared/contract/annotations.ts";
import { bareApp } from "../shared/schema/image-manifest.ts";
import type { App, NameValue } from "../shared/schema/types.ts";
import { SyscallError } from "../shared/syscall/call.ts";
import { ALL, capabilityNames } from "./capabilities.ts";
import type { Kernel } from "./kernel.ts";
import { launch } from "./launch.ts";
import { type LaunchPlan, launchPlan, type Process } from "./plan.ts";

function plan(app: Partial<App> = {}, annotations: NameValue[] = [], process: Process = { app: "web" }): LaunchPlan {
  return launchPlan(
    {
      acVersion: "0.8.11",
      acKind: "PodManifest",
      apps: [
        {
          name: "web",
          image: { id: `sha512-${"0".repeat(128)}`, labels: [] },
          app: { ...bareApp(["web"]), ...app },
          readOnlyRootFS: false,
          mounts: [],
          annotations: [],
        },
      ],
      volumes: [],
      isolators: [],
      annotations,
      ports: [],
      userAnnotations: {},
      userLabels: {},
    },
    process,
    { pid: 7, permitted: ALL, env: { LISTEN_PID: "7", LISTEN_FDS: "1", RKT_ENTER_FDS: "20,21" } },
  );
}

const PASSWD = "www:x:33:33::/var/www:/bin/false\n";
const GROUP = "www:x:34:\n";

/** A kernel that does nothing and says so; `faults` are what its methods throw. */
function recording(faults: Partial<Record<keyof Kernel, Error>> = {}): {
  kernel: Kernel;
  log: string[];
  /** What the helper would say. */
  said: string[];
} {
  const log: string[] = [];
  const said: string[] = [];
  const step = (name: keyof Kernel, ...args: unknown[]): void => {
    log.push([name, ...args].join(" "));
    const fault = faults[name];
    if (fault !== undefined) throw fault;
  };
  const kernel: Kernel = {
    connect: (fd, fifo) => step("connect", fd, fifo),
    makeUndumpable: () => step("makeUndumpable"),
    enterLandlockDomain: (without) => step("enterLandlockDomain", without),
    unshareCgroups: () => step("unshareCgroups"),
    unshareMounts: () => step("unshareMounts"),
    buildRoot: (steps) => {
      step("buildRoot", steps[0]?.kind);
      return 42;
    },
    enterRoot: (root) => step("enterRoot", root),
    openCgroups: (dir) => {
      step("openCgroups", dir);
      return [30];
    },
    joinCgroups: (cgroups) => step("joinCgroups", `[${cgroups.join()}]`),
    leaveSession: () => step("leaveSession"),
    joinApp: (app) => step("joinApp", app.namespace, app.rootfs, `[${app.cgroups.join()}]`),
    endWithParent: () => step("endWithParent"),
    reopenTerminal: () => step("reopenTerminal"),
    chownStreams: (uid) => step("chownStreams", uid),
    accountSources: () => {
      step("accountSources");
      return { passwd: PASSWD, group: GROUP, owner: () => ({ uid: 1, gid: 1 }) };
    },
    openAccount: (path) => {
      step("openAccount", path);
      return 70;
    },
    writeAccount: (fd, { uid, gid }) => step("writeAccount", fd, uid, gid),
    readAccount: (path) => {
      step("readAccount", path);
      return undefined;
    },
    resetProcess: () => step("resetProcess"),
    setLimit: (number, { soft, hard }) => step("setLimit", number, soft, hard),
    permitted: () => (1n << 41n) - 1n,
    limitBoundingSet: (keep) => step("limitBoundingSet", capabilityNames(keep).length),
    setGroups: (gids) => step("setGroups", `[${gids.join()}]`),
    setGid: (gid) => step("setGid", gid),
    setUid: (uid) => step("setUid", uid),
    keepCapabilities: () => step("keepCapabilities"),
    compileFilter: (filter) => {
      step("compileFilter", filter === "default" ? filter : `${filter.otherwise} but ${filter.rules.length}`);
      return Buffer.from("12345678");
    },
    setOomScoreAdj: (value) => step("setOomScoreAdj", value),
    findProblem: (path) => {
      step("findProblem", path);
      return undefined;
    },
    setCapabilities: (set) => step("setCapabilities", capabilityNames(set).length),
    setNoNewPrivileges: () => step("setNoNewPrivileges"),
    changeDirectory: (path) => step("changeDirectory", path),
    findProgram: (name) => {
      step("findProgram", name);
      return `/bin/${name}`;
    },
    failureReasons: (path) => {
      step("failureReasons", path);
      return new Map([[8, "of no known format"]]);
    },
    openHelper: (path) => {
      step("openHelper", path);
      return 60;
    },
    execute: (helper, { path, argv, env, sockets }, { byErrno, otherwise }, filter) => {
      said.push(...byErrno.values(), otherwise);
      const words = [`by ${helper}:`, path, `[${argv.join()}]`, `HOME=${env["HOME"]}`, `${sockets} sockets`];
      step("execute", ...words, filter === undefined ? "unfiltered" : "filtered");
      throw new Error("the end");
    },
    warn: (text) => step("warn", text),
  };
  return { kernel, log, said };
}

function order(app: Partial<App>, annotations?: NameValue[]): string {
  const { kernel, log } = recording();
  assert.throws(() => launch(plan(app, annotations), kernel));
  return log.join("\n");
}

test("root", () => {
  assert.equal(
    order({}),
    `\
connect 0 /rkt/stdio/web.in
connect 1 /rkt/stdio/web.out
connect 2 /rkt/stdio/web.err
openHelper /usr/lib/rkt/exec
compileFilter default
openCgroups /rkt/cgroups/web
openAccount /rkt/accounts/web
unshareMounts
buildRoot root
enterRoot 42
accountSources
writeAccount 70 0 0
chownStreams 0
enterLandlockDomain mounts
resetProcess
limitBoundingSet 14
setGroups []
setGid 0
keepCapabilities
setUid 0
makeUndumpable
setCapabilities 15
changeDirectory /
findProgram web
findProblem /bin/web
joinCgroups [30]
failureReasons /bin/web
execute by 60: /bin/web [web] HOME=/root 1 sockets filtered`,
  );
});

test("a cgroup namespace comes before the mounts that show it", () => {
  const { kernel, log } = recording();
  assert.throws(() => launch({ ...plan({}), cgroupNamespace: true }, kernel));
  assert.deepEqual(log.slice(log.indexOf("unshareCgroups"), log.indexOf("enterRoot 42")), [
    "unshareCgroups",
    "unshareMounts",
    "buildRoot root",
  ]);
});

test("everything an app can ask for", () => {
  const text = order(
    {
      user: "www",
      group: "www",
      supplementaryGIDs: [5, 6],
      workingDirectory: "/srv",
      isolators: [
        { name: "os/linux/capabilities-retain-set", value: { set: ["CAP_NET_BIND_SERVICE"] } },
        { name: "os/linux/no-new-privileges", value: true },
        { name: "os/linux/seccomp-remove-set", value: { set: ["reboot", "kexec_load"], errno: "EPERM" } },
        { name: "os/linux/oom-score-adj", value: 100 },
      ],
    },
    [{ name: ANNOTATIONS.interactive, value: "true" }],
  );
  assert.equal(
    text.split("\n").slice(3).join("\n"),
    `\
openHelper /usr/lib/rkt/exec
compileFilter allow but 2
setOomScoreAdj 100
openCgroups /rkt/cgroups/web
openAccount /rkt/accounts/web
unshareMounts
buildRoot root
enterRoot 42
reopenTerminal
accountSources
writeAccount 70 33 34
chownStreams 33
enterLandlockDomain signals
resetProcess
limitBoundingSet 1
setGroups [5,6]
setGid 34
setUid 33
makeUndumpable
setCapabilities 0
changeDirectory /srv
findProgram web
setNoNewPrivileges
findProblem /bin/web
joinCgroups [30]
failureReasons /bin/web
execute by 60: /bin/web [web] HOME=/var/www 1 sockets filtered`,
  );
});

/** On the host, where the launcher says what is narrowed. */
function narrowed(app: Partial<App>): string[] {
  const { kernel, log } = recording();
  assert.throws(() => launch({ ...plan(app), narrowsUsers: true, bounding: ALL, ...boundingOf(app) }, kernel));
  return log.filter((line) => /^(limitBoundingSet|setNoNewPrivileges|setCapabilities|keepCapabilities)/.test(line));
}
const boundingOf = ({ isolators = [] }: Partial<App>) => (isolators.length === 0 ? {} : { bounding: 1n });
const CHOWN: App["isolators"] = [{ name: "os/linux/capabilities-retain-set", value: { set: ["CAP_CHOWN"] } }];

test("on the host another user than root, and a root with less, gains nothing by a program", () => {
  const none = ["limitBoundingSet 0", "setCapabilities 0", "setNoNewPrivileges"];
  assert.deepEqual(narrowed({ user: "www", group: "www" }), none);
  assert.deepEqual(narrowed({ user: "www", group: "www", isolators: CHOWN }), none);
  assert.deepEqual(narrowed({ isolators: CHOWN }), ["limitBoundingSet 1", "setCapabilities 1", "setNoNewPrivileges"]);
  assert.deepEqual(narrowed({}), ["limitBoundingSet 41", "keepCapabilities", "setCapabilities 41"]);
});

test("on the host root is user 0, whatever the image calls root", () => {
  const { kernel, log } = recording();
  const asRoot = { ...plan({ user: "www" }), rootOfHost: true };
  assert.throws(() => launch(asRoot, kernel), { code: "not-root", message: 'the image calls user 33 "www"' });
  assert.ok(!log.some((line) => line.startsWith("chownStreams")));
});

test("with users of the container's own, the cgroups are joined as root, and no later", () => {
  const as = { user: "www", group: "www" };
  const own = order(as, [{ name: ANNOTATIONS.privateUsers, value: "true" }]).split("\n");
  const hosts = order(as).split("\n");
  assert.equal(own[own.indexOf("joinCgroups [30]") + 1], "setGroups []");
  const without = (lines: string[]) => lines.filter((line) => !line.startsWith("joinCgroups"));
  assert.deepEqual(without(own), without(hosts));
});

test("a command that enters goes the app's own way once it is in its root", () => {
  const app: Partial<App> = { isolators: [{ name: "os/linux/no-new-privileges", value: true }] };
  const entering = recording();
  assert.throws(() => launch(plan(app, [], { app: "web", command: ["web"] }), entering.kernel));
  const [open, compile, record, leave, join, ...rest] = entering.log;
  assert.deepEqual(
    [open, compile, record, leave],
    ["openHelper /usr/lib/rkt/exec", "compileFilter default", "readAccount /rkt/accounts/web", "leaveSession"],
  );
  assert.equal(join, `joinApp 20 /opt/stage2/sha512-${"0".repeat(32)}/rootfs [21]`);
  const own = order(app).split("\n");
  assert.deepEqual(
    rest.filter((line) => line !== "endWithParent"),
    // It is in the app's cgroups already, and its streams are not the app's.
    own.slice(own.indexOf("enterRoot 42") + 1).filter((line) => !/^(joinCgroups|writeAccount)/.test(line)),
  );
  assert.equal(rest.at(-4), "endWithParent");
});

test("who enters, and who handles the end, is who the app was when it began, whatever its files say now", () => {
  const recorded = { uid: 1000, gid: 1001, home: "/home/u", groups: [7] };
  const process: Process[] = [{ app: "web", command: ["web"] }, { app: "web", event: "post-stop" }];
  for (const one of process) {
    const { kernel, log } = recording();
    const app: Partial<App> = { user: "www", group: "www", eventHandlers: [{ name: "post-stop", exec: ["web"] }] };
    assert.throws(() => launch(plan(app, [], one), { ...kernel, readAccount: () => recorded }));
    assert.ok(!log.includes("accountSources"), "the app's files are not even read");
    assert.deepEqual(
      log.filter((line) => /^set(Uid|Gid|Groups)/.test(line)),
      ["setGroups [7]", "setGid 1001", "setUid 1000"],
    );
  }
});

const fault = (syscall: string, code: string): Error => Object.assign(new Error(), { syscall, code });

test("what it takes to install a filter nobody keeps without one", () => {
  const text = order({ user: "www", group: "www" }, [{ name: ANNOTATIONS.insecure, value: "seccomp" }]);
  assert.doesNotMatch(text, /compileFilter|keepCapabilities|enterLandlockDomain/);
  assert.match(text, /setCapabilities 0\n/);
  assert.match(text, /unfiltered$/);
  assert.match(order({ user: "www", group: "www" }), /keepCapabilities\nsetUid 33\nmakeUndumpable\nsetCapabilities 1\n/);
});

test("an app that its own filter would keep from saying why it cannot start is not tried", () => {
  const isolators = [{ name: "os/linux/seccomp-retain-set", value: { set: ["read"] } }];
  for (const tried of [false, true]) {
    const { kernel, log, said } = recording();
    kernel.findProblem = () => "no such file";
    const refused = { message: 'cannot execute "/bin/web": no such file', exitCode: 203 };
    assert.throws(() => launch(plan(tried ? {} : { isolators }), kernel), tried ? { message: "the end" } : refused);
    assert.equal(log.at(-1)?.startsWith("execute"), tried);
    const lines = ['rkt: app web: cannot execute "/bin/web": no such file\n', 'rkt: app web: cannot execute "/bin/web": errno '];
    assert.deepEqual(said, tried ? lines : []);
  }
});

test("what an errno of execve(2) means is told", () => {
  const { kernel, said } = recording();
  kernel.findProblem = () => undefined;
  assert.throws(() => launch(plan({}), kernel));
  assert.deepEqual(said, [
    'rkt: app web: cannot execute "/bin/web": of no known format\n',
    'rkt: app web: cannot execute "/bin/web": errno ',
  ]);
});

test("an oom-score-adj that is not to be had is said", () => {
  const { kernel, log } = recording({ setOomScoreAdj: fault("write", "EACCES") });
  assert.throws(() => launch(plan({ isolators: [{ name: "os/linux/oom-score-adj", value: -10 }] }), kernel));
  assert.equal(
    log.find((line) => line.startsWith("warn")),
    "warn rkt: app web: an oom-score-adj of -10 is not available in this container",
  );
  assert.match(log.at(-1) ?? "", /^execute/);
});

test("capabilities asked for by name and not to be had are said", () => {
  const { kernel, log } = recording();
  kernel.permitted = () => 1n;
  const app = {
    isolators: [{ name: "os/linux/capabilities-retain-set", value: { set: ["CAP_CHOWN", "CAP_SYS_TIME"] } }],
  };
  assert.throws(() => launch(plan(app), kernel));
  assert.equal(
    log.find((line) => line.startsWith("warn")),
    "warn rkt: app web: capabilities not available in this container: CAP_SYS_TIME",
  );
});

const failures: { step: keyof Kernel; error: Error; message: RegExp; exitCode: number }[] = [
  {
    step: "limitBoundingSet",
    error: fault("prctl 24", "EPERM"),
    message: /^cannot drop capabilities: prctl 24: EPERM$/,
    exitCode: 218,
  },
  {
    step: "setGroups",
    error: fault("setgroups", "EPERM"),
    message: /^cannot set the groups: setgroups: EPERM$/,
    exitCode: 216,
  },
  {
    step: "setGid",
    error: fault("setresgid", "EINVAL"),
    message: /^cannot set the groups: setresgid: EINVAL$/,
    exitCode: 216,
  },
  {
    step: "setUid",
    error: fault("setresuid", "EINVAL"),
    message: /^cannot become user 0: setresuid: EINVAL$/,
    exitCode: 217,
  },
  {
    step: "setCapabilities",
    error: fault("capset", "EPERM"),
    message: /^cannot drop capabilities: capset: EPERM$/,
    exitCode: 218,
  },
  {
    step: "joinCgroups",
    error: fault("write", "EPERM"),
    message: /^cannot join the app's cgroups: write: EPERM$/,
    exitCode: 219,
  },
  {
    step: "compileFilter",
    error: fault("seccomp_rule_add", "EINVAL"),
    message: /^cannot filter system calls: seccomp_rule_add: EINVAL$/,
    exitCode: 228,
  },
  {
    step: "execute",
    error: new SyscallError("seccomp", 1),
    message: /^cannot filter system calls: seccomp: EPERM$/,
    exitCode: 228,
  },
  {
    step: "changeDirectory",
    error: fault("chdir", "ENOENT"),
    message: /^cannot enter working directory "\/": it does not exist in the image$/,
    exitCode: 200,
  },
];

for (const { step, error, message, exitCode } of failures)
  test(`nothing runs after ${step} failed`, () => {
    const { kernel, log } = recording({ [step]: error });
    assert.throws(() => launch(plan(), kernel), { name: "RktError", message, exitCode });
    assert.match(log.at(-1) ?? "", new RegExp(`^${step}`));
  });
