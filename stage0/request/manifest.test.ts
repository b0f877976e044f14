import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import { parseImageManifest } from "../../shared/schema/image-manifest.ts";
import { formatPodManifest, parsePodManifest } from "../../shared/schema/pod-manifest.ts";
import type { PodManifest } from "../../shared/schema/types.ts";
import { readRunLine } from "./run-line.ts";
import { runOptions } from "./run-options.ts";
import { scanWords } from "../cli/words.ts";
import type { Circumstances, ResolvedImage } from "./apps.ts";
import { type ContainerManifest, containerManifest, fromPodManifest } from "./manifest.ts";

const id = (digit: string): string => `sha512-${digit.repeat(128)}`;

function image(digit: string, manifest: object): ResolvedImage {
  const json = { acKind: "ImageManifest", acVersion: "0.8.11", ...manifest };
  return { id: id(digit), manifest: parseImageManifest(JSON.stringify(json)) };
}

const app = (more: object = {}) => ({ exec: ["/bin/x", "-f"], user: "0", group: "0", ...more });

const worker = image("a", {
  name: "example.com/reduce-worker",
  labels: [
    { name: "version", value: "1.0.0" },
    { name: "os", value: "linux" },
    { name: "arch", value: "amd64" },
  ],
  app: app({
    user: "100",
    group: "300",
    supplementaryGIDs: [400],
    workingDirectory: "/opt/work",
    environment: [
      { name: "LEVEL", value: "info" },
      { name: "HOME", value: "/root" },
    ],
    mountPoints: [{ name: "work", path: "/var/lib/work" }],
    isolators: [
      { name: "resource/memory", value: { limit: "1G" } },
      { name: "os/linux/capabilities-remove-set", value: { set: ["CAP_MKNOD"] } },
    ],
    ports: [{ name: "health", port: 4000, protocol: "tcp" }],
    userLabels: { tier: "worker" },
  }),
});
const backup = image("b", {
  name: "example.com/worker-backup",
  app: app({ mountPoints: [{ name: "work", path: "/backup", readOnly: true }] }),
});
const plain = image("c", { name: "busybox", app: app() });
const bare = image("d", { name: "example.com/Files".toLowerCase() });

const circumstances: Circumstances = {
  environment: [],
  environmentFiles: [],
  created: new Date("2026-01-02T03:04:05.006Z"),
  debug: false,
};

async function build(
  words: string[],
  images: ResolvedImage[],
  more: Partial<Circumstances> = {},
): Promise<ContainerManifest> {
  const { request: { run: request } } = readRunLine(scanWords(words, runOptions, "images"));
  return containerManifest(request, images, { ...circumstances, ...more });
}

function validate(manifest: PodManifest): void {
  const dir = mkdtempSync(join(tmpdir(), "rkt-manifest-"));
  try {
    const path = join(dir, "container");
    writeFileSync(path, formatPodManifest(manifest));
    execFileSync("actool", ["validate", path], { stdio: ["ignore", "pipe", "pipe"], encoding: "utf8" });
  } finally {
    rmSync(dir, { recursive: true });
  }
}

const many = image("e", { name: "i", app: app({ ports: [{ name: "many", port: 7, count: 1000, protocol: "tcp" }] }) });

const golden: {
  name: string;
  words: string[];
  images: ResolvedImage[];
  more?: Partial<Circumstances>;
  json: object;
}[] = [
  {
    name: "an image as it is",
    words: ["busybox.aci"],
    images: [plain],
    json: {
      acVersion: "0.8.11",
      acKind: "PodManifest",
      apps: [
        {
          name: "busybox",
          image: { name: "busybox", id: id("c") },
          app: { exec: ["/bin/x", "-f"], user: "0", group: "0" },
        },
      ],
      annotations: [
        { name: "coreos.com/rocket/layout-version", value: "1" },
        { name: "coreos.com/rocket/stage1/interface-version", value: "1" },
        { name: "coreos.com/rocket/created", value: "2026-01-02T03:04:05.006Z" },
        { name: "coreos.com/rocket/network", value: "host" },
      ],
    },
  },
  {
    name: "two apps on one volume, with everything overridden",
    words: [
      ..."--volume work,kind=host,source=/opt/tenant1/work --volume tmp,kind=empty,mode=1777".split(" "),
      ..."--mount volume=tmp,target=/tmp --set-env=LEVEL=debug --set-env=B=set --net --interactive=false".split(" "),
      ..."--port=health:4001 --port=80:127.0.0.1:8080 --hostname=h --dns=192.0.2.1 --dns-search=a --dns-search=b".split(
        " ",
      ),
      ..."--hosts-entry=192.0.2.2=x,192.0.2.2=y --annotation=example.com/a=1 --user-annotation=u=2".split(" "),
      ..."w.aci --user=0 --group=root --supplementary-gids=1,2 --working-dir=/w --environment=A=app".split(" "),
      ..."--memory=128M --caps-retain=CAP_KILL --readonly-rootfs --user-label=more=3 --annotation=example.com/b=4".split(
        " ",
      ),
      ..."-- --verbose --- b.aci --name=second --exec=/bin/rsync --mount=volume=work,target=/tmp/".split(" "),
    ],
    images: [worker, backup],
    more: {
      environmentFiles: [
        { name: "B", value: "file" },
        { name: "C", value: "file" },
      ],
      debug: true,
    },
    json: {
      acVersion: "0.8.11",
      acKind: "PodManifest",
      apps: [
        {
          name: "reduce-worker",
          image: { name: "example.com/reduce-worker", id: id("a"), labels: worker.manifest.labels },
          app: {
            exec: ["/bin/x", "-f", "--verbose"],
            user: "0",
            group: "root",
            supplementaryGIDs: [1, 2],
            workingDirectory: "/w",
            environment: [
              { name: "LEVEL", value: "debug" },
              { name: "HOME", value: "/root" },
              { name: "B", value: "set" },
              { name: "C", value: "file" },
              { name: "A", value: "app" },
            ],
            isolators: [
              { name: "resource/memory", value: { request: "128M", limit: "128M" } },
              { name: "os/linux/capabilities-retain-set", value: { set: ["CAP_KILL"] } },
            ],
            mountPoints: [{ name: "work", path: "/var/lib/work" }],
            ports: [{ name: "health", port: 4000, protocol: "tcp" }],
            userLabels: { tier: "worker", more: "3" },
          },
          readOnlyRootFS: true,
          mounts: [
            { volume: "tmp", path: "/tmp" },
            { volume: "work", path: "/var/lib/work" },
          ],
          annotations: [
            { name: "example.com/b", value: "4" },
            { name: "coreos.com/rocket/numeric-ids", value: "user" },
          ],
        },
        {
          name: "second",
          image: { name: "example.com/worker-backup", id: id("b") },
          app: {
            exec: ["/bin/rsync"],
            user: "0",
            group: "0",
            environment: [
              { name: "B", value: "set" },
              { name: "C", value: "file" },
              { name: "LEVEL", value: "debug" },
            ],
            mountPoints: [{ name: "work", path: "/backup", readOnly: true }],
          },
          mounts: [
            { volume: "work", path: "/tmp" },
            { volume: "work", path: "/backup" },
          ],
        },
      ],
      volumes: [
        { name: "work", kind: "host", source: "/opt/tenant1/work" },
        { name: "tmp", kind: "empty", mode: "1777" },
      ],
      annotations: [
        { name: "example.com/a", value: "1" },
        { name: "coreos.com/rocket/layout-version", value: "1" },
        { name: "coreos.com/rocket/stage1/interface-version", value: "1" },
        { name: "coreos.com/rocket/created", value: "2026-01-02T03:04:05.006Z" },
        { name: "coreos.com/rocket/network", value: "default" },
        { name: "coreos.com/rocket/hostname", value: "h" },
        { name: "coreos.com/rocket/resolv-conf", value: "nameserver 192.0.2.1\nsearch a b\n" },
        { name: "coreos.com/rocket/hosts", value: "192.0.2.2\tx y\n" },
        { name: "coreos.com/rocket/debug", value: "true" },
      ],
      ports: [
        { name: "health", hostPort: 4001 },
        {
          name: "80",
          hostPort: 8080,
          hostIP: "127.0.0.1",
          podPort: { name: "80", port: 80, protocol: "tcp" },
        },
      ],
      userAnnotations: { u: "2" },
    },
  },
];

for (const { name, words, images, more, json } of golden)
  test(`manifest: ${name}`, async () => {
    const { manifest, warnings } = await build(words, images, more);
    assert.deepEqual(JSON.parse(formatPodManifest(manifest)), json);
    assert.deepEqual(warnings, []);
    validate(manifest);
    assert.deepEqual(formatPodManifest(parsePodManifest(formatPodManifest(manifest))), formatPodManifest(manifest));
  });

test("manifest: the environment's order of precedence", async () => {
  const { manifest } = await build(
    ["--inherit-env", "--volume=work:/x", "--set-env=SET=set", "--set-env=APP=set", "i", "--environment=APP=app"],
    [worker],
    {
      environment: ["CALLER", "HOME", "FILE", "SET", "APP", "BASH_FUNC_x%%"].map((name) => ({ name, value: "caller" })),
      environmentFiles: ["FILE", "SET", "APP"].map((name) => ({ name, value: "file" })),
    },
  );
  assert.deepEqual(Object.fromEntries((manifest.apps[0]?.app?.environment ?? []).map((v) => [v.name, v.value])), {
    CALLER: "caller",
    HOME: "/root",
    LEVEL: "info",
    FILE: "file",
    SET: "set",
    APP: "app",
  });
});

test("manifest: the bound path serves the mount point that nothing else does, in every app", async () => {
  const { manifest } = await build(["--volume=bind:/opt/tenant1/database", "a", "b"], [worker, backup]);
  assert.deepEqual(manifest.volumes, [
    { name: "work", kind: "host", source: "/opt/tenant1/database" },
  ]);
  assert.deepEqual(
    manifest.apps.map(({ mounts }) => mounts),
    [[{ volume: "work", path: "/var/lib/work" }], [{ volume: "work", path: "/backup" }]],
  );
});

test("manifest: a mount at a mount point's path serves it", async () => {
  const { manifest } = await build(["--volume=x:/x", "a", "--mount=volume=x,target=/var/lib//work/"], [worker]);
  assert.deepEqual(manifest.apps[0]?.mounts, [{ volume: "x", path: "/var/lib/work" }]);
});

test("manifest: that an app says it is ready comes from its image, unless the user knows better", async () => {
  const says = (value: string) => ({ name: "appc.io/executor/supports-systemd-notify", value });
  const server = image("d", { name: "example.com/server", app: app(), annotations: [says("true")] });
  const line = ["a", "--name=a", "b", "--name=b", `--annotation=${says("").name}=false`, "c"];
  const { manifest } = await build(line, [server, server, plain]);
  assert.deepEqual(
    manifest.apps.map(({ annotations }) => annotations),
    [[says("true")], [says("false")], []],
  );
});

test("manifest: an image without an app runs what --exec says", async () => {
  const { manifest } = await build(["i", "--exec=/bin/sh", "--", "-c", "true"], [bare]);
  assert.deepEqual(manifest.apps[0]?.app?.exec, ["/bin/sh", "-c", "true"]);
  validate(manifest);
});

test("manifest: an app's name from hostile image names", async () => {
  const names = { "example.com/a_b.c~d": "a-b-c-d", "x/0--1": "0--1", "quay.io/coreos/etcd": "etcd" };
  for (const [imageName, name] of Object.entries(names)) {
    const { manifest } = await build(["i"], [image("e", { name: imageName, app: app() })]);
    assert.equal(manifest.apps[0]?.name, name);
  }
});

test("manifest: an image that asks for more than the default, unless the person has said so", async () => {
  const isolators = [{ name: "os/linux/capabilities-retain-set", value: { set: ["CAP_SYS_ADMIN"] } }];
  const wide = image("f", { name: "s", app: app({ isolators }) });
  const line = "app s: its image asks for more than the default: CAP_SYS_ADMIN (--caps-retain to decide otherwise)";
  assert.deepEqual((await build(["s"], [wide])).warnings, [line]);
  assert.deepEqual((await build(["s", "--caps-retain=CAP_SYS_ADMIN"], [wide])).warnings, []);
});

test("manifest: of a pod manifest's apps, one that its image describes", async () => {
  const isolators = [{ name: "os/linux/seccomp-retain-set", value: { set: ["@appc.io/all"] } }];
  const wide = image("f", { name: "s", app: app({ isolators }) });
  const apps = [
    { name: "image-says", image: { id: wide.id } },
    { name: "person-says", image: { id: wide.id }, app: app({ isolators }) },
  ];
  const given = parsePodManifest(JSON.stringify({ acKind: "PodManifest", acVersion: "0.8.11", apps }));
  const { request: { run: request } } = readRunLine(scanWords(["--pod-manifest=x"], runOptions, "images"));
  assert.deepEqual(fromPodManifest(given, request, [wide, wide], circumstances).warnings, [
    "app image-says: its image asks for more than the default: no system call filter, which is as good as root on the host (--seccomp to decide otherwise)",
  ]);
});

test("manifest: mount points without a volume get a new one, shared by name", async () => {
  const two = image("e", {
    name: "two",
    app: app({ mountPoints: ["/a", "/b"].map((path) => ({ name: "data", path })) }),
  });
  const { manifest, implicitVolumes, notes } = await build(["a", "b", "c"], [worker, backup, two]);
  assert.deepEqual(Object.fromEntries(implicitVolumes), { work: "reduce-worker", data: "two" });
  assert.deepEqual(
    manifest.volumes,
    ["work", "data"].map((name) => ({ name, kind: "empty" })),
  );
  assert.deepEqual(
    manifest.apps.map(({ mounts }) => mounts.map(({ volume, path }) => `${volume} ${path}`)),
    [["work /var/lib/work"], ["work /backup"], ["data /a", "data /b"]],
  );
  const note = (app: string, name: string) => ({
    text: `app ${app}: mount point "${name}" has no volume: a new one takes its place, and goes with the container`,
    hint: `--volume ${name}:/PATH gives it a directory of the host`,
  });
  assert.deepEqual(notes, [note("reduce-worker", "work"), note("worker-backup", "work"), note("two", "data")]);
  validate(manifest);
});

test("manifest: an image's own annotations are not the app's", async () => {
  const name = "coreos.com/rocket/insecure-options";
  const sly = image("e", {
    name: "sly",
    app: app({ userAnnotations: { [name]: "seccomp" } }),
    annotations: [
      { name, value: "seccomp" },
      { name: "coreos.com/rocket/early-image", value: "0.1.0" },
      { name: "coreos.com/rocket/pre-start-timeout", value: "9" },
    ],
  });
  const { manifest } = await build(["i"], [sly]);
  assert.deepEqual(manifest.apps[0]?.annotations, []);
  assert.ok(!manifest.annotations.some((one) => one.name === name));
});

test("manifest: warnings", async () => {
  const isolators = [
    { name: "example.com/x", value: 1 },
    { name: "resource/block-iops", value: { default: true, limit: "10" } },
  ];
  const annotations = [{ name: "appc.io/executor/supports-systemd-notify", value: "maybe" }];
  const strange = image("f", { name: "s", app: app({ isolators }), annotations });
  const { warnings } = await build(["--volume=unused:/x", "s"], [strange]);
  assert.deepEqual(warnings, [
    'no app mounts the volume "unused"',
    'app s: the annotation appc.io/executor/supports-systemd-notify is "maybe", neither true nor false: no effect',
    "app s: the isolator example.com/x is unknown and has no effect",
    "app s: the isolator resource/block-iops is not enforced and has no effect",
  ]);
});

const refused: {
  name: string;
  words: string[];
  images: ResolvedImage[];
  code: string;
  message: string;
  hint?: string;
}[] = [
  {
    name: "two apps of one name",
    words: ["i", "i"],
    images: [plain, plain],
    code: "duplicate-app",
    message: 'two apps are called "busybox"',
    hint: "give one another name: --name after its image",
  },
  {
    name: "no app section",
    words: ["i"],
    images: [bare],
    code: "no-app",
    message: "image example.com/files has no app section",
    hint: "it is not made to run by itself; say with --exec what to run",
  },
  {
    name: "nothing to execute",
    words: ["i"],
    images: [image("e", { name: "idle", app: app({ exec: [] }) })],
    code: "no-exec",
    message: "app idle: nothing says what to run",
    hint: "say it with --exec after the image, or in the pod manifest",
  },
  {
    name: "a handler with nothing to execute",
    words: ["i"],
    images: [image("e", { name: "idle", app: app({ eventHandlers: [{ name: "post-stop", exec: [] }] }) })],
    code: "no-exec",
    message: "app idle: its post-stop handler does not say what to run",
    hint: "mend the image's manifest",
  },
  {
    name: "a mount on the root",
    words: ["--volume=a:/x", "i", "--mount=volume=a,target=/./"],
    images: [plain],
    code: "bad-mount",
    message: "app busybox: a volume can't be mounted on the app's root",
    hint: "mount it on a directory below",
  },
  {
    name: "a mount point on the root",
    words: ["i"],
    images: [image("e", { name: "busybox", app: app({ mountPoints: [{ name: "a", path: "/" }] }) })],
    code: "bad-mount",
    message: "app busybox: a volume can't be mounted on the app's root",
    hint: "mount it on a directory below",
  },
  {
    name: "a bound path with several candidates",
    words: ["--volume=bind:/x", "i"],
    images: [
      image("e", {
        name: "db",
        app: app({
          mountPoints: [
            { name: "data", path: "/data" },
            { name: "conf", path: "/conf" },
          ],
        }),
      }),
    ],
    code: "ambiguous-volume",
    message: "bind:/x could serve any of the mount points data, conf",
    hint: "name the one that is meant: --volume data:/x",
  },
  {
    name: "a bound path without a candidate",
    words: ["--volume=bind:/x", "i"],
    images: [plain],
    code: "unused-volume",
    message: "bind:/x serves no mount point: there is none without a volume",
    hint: "to mount it anyway: --volume NAME:/x --mount volume=NAME,target=/PATH",
  },
  {
    name: "two bound paths",
    words: ["--volume=bind:/x", "--volume=bind:/y", "i"],
    images: [worker],
    code: "ambiguous-volume",
    message: "bind:/x and bind:/y can't both serve the one mount point",
    hint: "name the mount points: --volume work:/PATH",
  },
  {
    name: "a mount of no volume",
    words: ["i", "--mount=volume=data,target=/x"],
    images: [plain],
    code: "no-such-volume",
    message: 'app busybox: there is no volume "data" to mount',
    hint: "--volume data:/PATH, or --volume data,kind=empty",
  },
  {
    name: "a volume given twice",
    words: ["--volume=a:/x", "--volume=a,kind=empty", "i"],
    images: [plain],
    code: "duplicate-volume",
    message: 'volume "a" is given twice',
  },
  {
    name: "two mount points in one place, spelled differently",
    words: ["--volume=a:/x", "--volume=b:/y", "i"],
    images: [
      image("e", {
        name: "busybox",
        app: app({
          mountPoints: [
            { name: "a", path: "/m" },
            { name: "b", path: "/m/" },
          ],
        }),
      }),
    ],
    code: "duplicate-mount",
    message: "app busybox: two volumes are to be mounted at /m",
    hint: "--mount volume=NAME,target=/m after the image says which one",
  },
  {
    name: "an image of another platform",
    words: ["i"],
    images: [
      image("e", {
        name: "arm",
        labels: [
          { name: "os", value: "linux" },
          { name: "arch", value: "aarch64" },
        ],
        app: app(),
      }),
    ],
    code: "wrong-platform",
    message: "image arm is made for linux/aarch64, this host is linux/amd64",
    hint: "get the image for linux/amd64",
  },
  {
    name: "isolators that contradict each other",
    words: ["i"],
    images: [
      image("e", {
        name: "c",
        app: app({
          isolators: ["retain", "remove"].map((mode) => ({
            name: `os/linux/capabilities-${mode}-set`,
            value: { set: ["CAP_KILL"] },
          })),
        }),
      }),
    ],
    code: "manifest-invalid",
    message:
      "app c: isolators: must not have both os/linux/capabilities-retain-set and os/linux/capabilities-remove-set",
  },
  {
    name: "a port that no image has",
    words: ["--net", "--port=web:80", "i"],
    images: [worker],
    code: "no-such-port",
    message: "no app has a port called web",
    hint: "there are health",
  },
  {
    name: "a port's name in two apps",
    words: ["--net", "--volume=work:/x", "--port=health:80", "i", "i", "--name=b"],
    images: [worker, worker],
    code: "ambiguous-port",
    message: "more than one app has a port called health",
    hint: "give the number: --port 4000:80",
  },
  {
    name: "a port of the host for two ports",
    words: ["--net", "--port=80-tcp:8080", "--port=81-tcp:8080", "i"],
    images: [plain],
    code: "port-in-use",
    message: "port tcp 8080 of the host is to be published twice",
    hint: "give one of the --port options another port of the host",
  },
  {
    name: "a range that ends after 65535",
    words: ["--net", "--port=65535-udp:8000-8001", "i"],
    images: [many],
    code: "bad-port",
    message: "port 65535-udp is a range of 2 ports, which ends after 65535",
    hint: "begin it at a lower port, of the host and of the container",
  },
  {
    name: "one port of the host for what an image calls a range",
    words: ["--net", "--port=many:20", "i"],
    images: [many],
    code: "bad-port",
    message: "port many is a range of 1000 ports in its image, and 20 is one",
    hint: "--port=many:20-1019 publishes all of it, --port=7-tcp:20 the first",
  },
  {
    name: "more ports of the host than an image has",
    words: ["--net", "--port=many:20-1020", "i"],
    images: [many],
    code: "bad-port",
    message: "port many of the image is a range of 1000, and 1001 of the host are to lead to it",
    hint: "--port=many:20-1019",
  },
  {
    name: "ports without end",
    words: ["--net", "--port=many:20-1019", "i"],
    images: [many],
    code: "bad-port",
    message: "1000 ports of the host are to be published: 512 are the most",
    hint: "publish fewer, or give the container the host's network (--net=host)",
  },
  {
    name: "a protocol that nothing forwards",
    words: ["--net", "--port=odd:80", "i"],
    images: [image("e", { name: "i", app: app({ ports: [{ name: "odd", port: 1, protocol: "sctp" }] }) })],
    code: "bad-port",
    message: 'port odd has protocol "sctp": only tcp and udp can be published',
    hint: "leave the port out: containers of the same network reach it without",
  },
  {
    name: "networks that contradict each other",
    words: ["--net=a,host", "i"],
    images: [plain],
    code: "bad-network",
    message: '--net=a,host: "host" stands alone',
    hint: "--net=NAME[:KEY=VALUE;KEY=VALUE],NAME2, --net=host or --net=none",
  },
];

for (const { name, words, images, code, message, hint } of refused)
  test(`manifest refused: ${name}`, async () => {
    await assert.rejects(build(words, images), (error: unknown) => {
      assert.ok(error instanceof RktError, String(error));
      assert.deepEqual([error.code, error.message, error.hint, error.exitCode], [code, message, hint, 254]);
      return true;
    });
  });

test("pod manifest: what it leaves to the images is filled in", async () => {
  const { request: { run: request } } = readRunLine(scanWords(["--pod-manifest=/m", "--net=none"], runOptions, "images"));
  const given = parsePodManifest(
    JSON.stringify({
      acVersion: "0.7.0",
      acKind: "PodManifest",
      apps: [
        { name: "w", image: { id: `sha512-${"a".repeat(32)}` } },
        { name: "b", image: { id: id("b") }, app: { exec: ["/y"], user: "1", group: "1" } },
      ],
      volumes: [{ name: "work", kind: "empty" }],
      annotations: [{ name: "example.com/kept", value: "1" }],
    }),
  );
  const { manifest, warnings } = fromPodManifest(given, request, [worker, backup], circumstances);
  assert.deepEqual(warnings, []);
  assert.deepEqual(
    manifest.apps.map(({ name, image: of, app: what, mounts }) => ({ name, of, exec: what?.exec, mounts })),
    [
      {
        name: "w",
        of: { id: id("a"), name: "example.com/reduce-worker", labels: worker.manifest.labels },
        exec: ["/bin/x", "-f"],
        mounts: [{ volume: "work", path: "/var/lib/work" }],
      },
      { name: "b", of: { id: id("b"), name: "example.com/worker-backup", labels: [] }, exec: ["/y"], mounts: [] },
    ],
  );
  assert.deepEqual(
    manifest.annotations.map(({ name, value }) => `${name}=${value}`),
    [
      "example.com/kept=1",
      "coreos.com/rocket/layout-version=1",
      "coreos.com/rocket/stage1/interface-version=1",
      "coreos.com/rocket/created=2026-01-02T03:04:05.006Z",
      "coreos.com/rocket/network=none",
    ],
  );
  validate(manifest);
});

const podRefused: { name: string; pod: object; words?: string[]; message: string; hint: string }[] = [
  {
    name: "a mount point without a volume",
    pod: { volumes: [] },
    message: "no volume for the mount point work (/var/lib/work of app w)",
    hint: 'give the pod manifest a volume "work"',
  },
  {
    name: "an annotation that switches protections off",
    pod: { annotations: [{ name: "coreos.com/rocket/insecure-options", value: "seccomp" }] },
    message: "the pod manifest has the annotation coreos.com/rocket/insecure-options, which is rkt's own",
    hint: "--insecure-options is the option for it",
  },
  {
    name: "an app's annotation that stage 0 makes",
    pod: {
      apps: [
        {
          name: "w",
          image: { id: id("a") },
          annotations: [
            { name: "coreos.com/rocket/pre-start-timeout", value: "1" },
            { name: "coreos.com/rocket/early-image", value: "0.1.0" },
          ],
        },
      ],
    },
    message: "the pod manifest's app w has the annotation coreos.com/rocket/early-image, which is rkt's own",
    hint: "leave it out: rkt writes it itself",
  },
  {
    name: "a port's name in two apps",
    pod: {
      apps: ["w", "v"].map((name) => ({ name, image: { id: id("a") } })),
      ports: [{ name: "health", hostPort: 4000 }],
    },
    words: ["--net"],
    message: "more than one app has a port called health",
    hint: "a podPort beside it says which one is meant",
  },
  {
    name: "a port without a network to publish it on",
    pod: { ports: [{ name: "health", hostPort: 4001 }] },
    message: "port tcp 4001 can't lead to port 4000: the container shares the host's network",
    hint: "--net gives the container a network of its own",
  },
  {
    name: "a port without any network",
    pod: { ports: [{ name: "health", hostPort: 4000 }] },
    words: ["--net=none"],
    message: "port tcp 4000 can't be published: the container has no network",
    hint: "--net gives the container a network of its own",
  },
];
for (const { name, pod, words = [], message, hint } of podRefused)
  test(`pod manifest refused: ${name}`, async () => {
    const { request: { run: request } } = readRunLine(scanWords(["--pod-manifest=/m", ...words], runOptions, "images"));
    const json = {
      acVersion: "0.8.11",
      acKind: "PodManifest",
      apps: [{ name: "w", image: { id: id("a") } }],
      volumes: [{ name: "work", kind: "empty" }],
      ...pod,
    };
    const given = parsePodManifest(JSON.stringify(json));
    const images = given.apps.map(() => worker);
    assert.throws(
      () => fromPodManifest(given, request, images, circumstances),
      (error: unknown) => {
        assert.ok(error instanceof RktError, String(error));
        assert.deepEqual([error.message, error.hint, error.exitCode], [message, hint, 254]);
        return true;
      },
    );
  });

// --- OCI images -------------------------------------------------------------------

const pairs = (of: Record<string, string>) => Object.entries(of).map(([name, value]) => ({ name, value }));

const oci = (annotations: Record<string, string>, over: object = {}) =>
  image("e", { name: "example.com/oci", app: app({ exec: ["/entry", "-x", "cmd"], ...over }), annotations: pairs(annotations) });

const commands: [name: string, annotations: Record<string, string>, words: string[], exec: string[]][] = [
  ["nothing said", { entrypoint: '["/entry","-x"]', cmd: '["cmd"]' }, [], ["/entry", "-x", "cmd"]],
  ["arguments in place of Cmd", { entrypoint: '["/entry","-x"]', cmd: '["cmd"]' }, ["--", "mine"], ["/entry", "-x", "mine"]],
  ["no entrypoint", { entrypoint: "[]", cmd: '["/entry","-x","cmd"]' }, ["--", "/bin/mine"], ["/bin/mine"]],
  ["--exec in place of both", { entrypoint: '["/entry","-x"]', cmd: '["cmd"]' }, ["--exec=/other", "--", "a"], ["/other", "a"]],
  ["annotations of another command", { entrypoint: '["/other"]', cmd: '["cmd"]' }, ["--", "mine"], ["/entry", "-x", "cmd", "mine"]],
  ["annotations that are no lists", { entrypoint: '{"a":1}', cmd: "nonsense" }, ["--", "mine"], ["/entry", "-x", "cmd", "mine"]],
  ["one annotation alone", { cmd: '["cmd"]' }, ["--", "mine"], ["/entry", "-x", "cmd", "mine"]],
];
for (const [name, of, words, exec] of commands)
  test(`the command of an OCI image: ${name}`, async () => {
    const annotations = Object.fromEntries(Object.entries(of).map(([key, value]) => [`appc.io/docker/${key}`, value]));
    const { manifest } = await build(["example.com/oci", ...words], [oci(annotations)]);
    assert.deepEqual(manifest.apps[0]?.app?.exec, exec);
  });

const accounts: [name: string, account: string, words: string[], expected: Record<string, string>][] = [
  ["the image's own", "own", [], { account: "own", "numeric-ids": "user,group" }],
  ["the image's group", "given", [], { account: "given", "numeric-ids": "user,group" }],
  ["another user", "given", ["--user=web"], { account: "own", "numeric-ids": "group" }],
  ["another group", "own", ["--group=www"], { "numeric-ids": "user" }],
  ["both", "own", ["--user=1", "--group=2"], { "numeric-ids": "user,group" }],
];
for (const [name, account, words, expected] of accounts)
  test(`the user of an OCI image: ${name}`, async () => {
    const made = oci({ "coreos.com/rocket/account": account, "coreos.com/rocket/oci/digest": "x" }, { user: "33", group: "0" });
    const { manifest } = await build(["example.com/oci", ...words], [made]);
    const prefixed = Object.fromEntries(Object.entries(expected).map(([key, value]) => [`coreos.com/rocket/${key}`, value]));
    assert.deepEqual(Object.fromEntries((manifest.apps[0]?.annotations ?? []).map((one) => [one.name, one.value])), prefixed);
  });
