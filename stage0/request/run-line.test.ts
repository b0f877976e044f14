import assert from "node:assert/strict";
import { test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import type { AppRequest, RunRequest } from "./request.ts";
import { scanWords } from "../cli/words.ts";
import { runOptions } from "./run-options.ts";
import { type RunLine, readRunLine } from "./run-line.ts";

const emptyRequest: RunRequest = {
  apps: [],
  podManifest: undefined,
  volumes: [],
  boundPaths: [],
  mounts: [],
  environment: { inherit: false, files: [], set: [] },
  annotations: [],
  userAnnotations: [],
  userLabels: [],
  ports: [],
  network: undefined,
  resolver: "default",
  hosts: [],
  hostname: undefined,
  interactive: false,
  privateUsers: false,
  ipc: undefined,
  mappedVolumes: [],
};

const app = (image: string, asked: Partial<AppRequest> = {}): AppRequest => ({
  image,
  signature: undefined,
  name: undefined,
  exec: undefined,
  arguments: [],
  user: undefined,
  group: undefined,
  supplementaryGIDs: undefined,
  workingDirectory: undefined,
  environment: [],
  mounts: [],
  isolators: [],
  readOnlyRootFS: false,
  annotations: [],
  userAnnotations: [],
  userLabels: [],
  ...asked,
});

const read = async (words: readonly string[]): Promise<RunLine> => readRunLine(scanWords(words, runOptions, "images"));

const requests: { name: string; words: string[]; request: Partial<RunRequest> }[] = [
  { name: "one image", words: ["etcd.aci"], request: { apps: [app("etcd.aci")] } },
  {
    name: "the seed's validation run",
    words: ["-volume", "database:/tmp", "https://a.example/main.aci", "https://a.example/sidekick.aci"],
    request: {
      apps: [app("https://a.example/main.aci"), app("https://a.example/sidekick.aci")],
      volumes: [{ name: "database", kind: "host", source: "/tmp" }],
    },
  },
  {
    name: "the seed's bind spelling",
    words: ["--volume", "bind:/opt/tenant1/database", "sha512-8a30f14877cd", "sha512-abcd29837d89"],
    request: {
      apps: [app("sha512-8a30f14877cd"), app("sha512-abcd29837d89")],
      boundPaths: ["/opt/tenant1/database"],
    },
  },
  {
    name: "volumes with kinds; a path with commas and colons in the short spelling",
    words: [
      "--volume=a,kind=host,source=/srv/a=b:c,readOnly=1,recursive=false",
      "--volume=b,kind=empty,mode=0700,uid=5,gid=6,readOnly=true",
      "--volume=c,kind=empty",
      "--volume=d:/x,y:z",
      "i",
    ],
    request: {
      apps: [app("i")],
      volumes: [
        { name: "a", kind: "host", source: "/srv/a=b:c", readOnly: true, recursive: false },
        { name: "b", kind: "empty", readOnly: true, mode: "0700", uid: 5, gid: 6 },
        { name: "c", kind: "empty", readOnly: undefined, mode: undefined, uid: undefined, gid: undefined },
        { name: "d", kind: "host", source: "/x,y:z" },
      ],
    },
  },
  {
    name: "rkt's documented mounts: before the images for all, after one for that one",
    words: [
      "--volume=logs,kind=host,source=/srv/logs",
      "--mount",
      "volume=logs,target=/logs",
      "app1",
      "--mount",
      "volume=logs,target=/var/log",
      "app2",
      "--mount=volume=logs,target=/opt/log",
    ],
    request: {
      apps: [
        app("app1", { mounts: [{ volume: "logs", path: "/var/log" }] }),
        app("app2", { mounts: [{ volume: "logs", path: "/opt/log" }] }),
      ],
      volumes: [{ name: "logs", kind: "host", source: "/srv/logs", readOnly: undefined, recursive: undefined }],
      mounts: [{ volume: "logs", path: "/logs" }],
    },
  },
  {
    name: "rkt's documented arguments, with another executable",
    words: [
      "example.com/worker",
      "--exec",
      "/bin/ov",
      "--",
      "--loglevel",
      "verbose",
      "---",
      "example.com/syncer",
      "--exec",
      "/bin/syncer2",
      "--",
      "--interval",
      "30s",
    ],
    request: {
      apps: [
        app("example.com/worker", { exec: "/bin/ov", arguments: ["--loglevel", "verbose"] }),
        app("example.com/syncer", { exec: "/bin/syncer2", arguments: ["--interval", "30s"] }),
      ],
    },
  },
  {
    name: "every option of an image",
    words: [
      "i",
      "--name=n",
      "--exec=/e",
      "--environment=A=1",
      "--environment",
      "B=",
      "--user=u",
      "--group=7",
      "--supplementary-gids=1,2",
      "--supplementary-gids=3",
      "--working-dir=/w",
      "--readonly-rootfs",
      "--memory=128M",
      "--cpu=750m",
      "--cpu-shares=512",
      "--caps-retain=CAP_KILL,CAP_NET_ADMIN",
      "--seccomp=mode=remove,errno=EPERM,chmod,@docker/default-blacklist",
      "--oom-score-adjust=-5",
      "--signature=i.asc",
      "--annotation=example.com/a=x=y",
      "--user-annotation=any thing=1",
      "--user-label=l=",
    ],
    request: {
      apps: [
        app("i", {
          name: "n",
          exec: "/e",
          environment: [
            { name: "A", value: "1" },
            { name: "B", value: "" },
          ],
          user: "u",
          group: "7",
          supplementaryGIDs: [1, 2, 3],
          workingDirectory: "/w",
          readOnlyRootFS: true,
          isolators: [
            { name: "resource/memory", value: { request: "128M", limit: "128M" } },
            { name: "resource/cpu", value: { request: "750m", limit: "750m" } },
            { name: "os/linux/cpu-shares", value: 512 },
            { name: "os/linux/oom-score-adj", value: -5 },
            { name: "os/linux/capabilities-retain-set", value: { set: ["CAP_KILL", "CAP_NET_ADMIN"] } },
            {
              name: "os/linux/seccomp-remove-set",
              value: { errno: "EPERM", set: ["chmod", "@docker/default-blacklist"] },
            },
          ],
          signature: "i.asc",
          annotations: [{ name: "example.com/a", value: "x=y" }],
          userAnnotations: [{ name: "any thing", value: "1" }],
          userLabels: [{ name: "l", value: "" }],
        }),
      ],
    },
  },
  {
    name: "options of the container, before, between and after images",
    words: [
      "--set-env=A=1",
      "--user-label=tier=db",
      "--annotation=example.com/x=y",
      "--user-annotation=k=v",
      "one",
      "--set-env-file=/env",
      "two",
      "--name=two",
      "--inherit-env",
      "--set-env=B=2",
      "--hostname=db-1.example.com",
      "--net=mynet:IP=1.2.3.4,other",
      "--port=http:8080",
      "--port=53-udp:127.0.0.1:5353",
      "--dns=192.0.2.1",
      "--dns=2001:db8::1",
      "--dns-domain=example.com",
      "--dns-search=a.example",
      "--dns-opt=ndots:2",
      "--hosts-entry=192.0.2.7=db,192.0.2.7=db.example",
      "--hosts-entry=::1=self",
    ],
    request: {
      apps: [app("one"), app("two", { name: "two" })],
      environment: {
        inherit: true,
        files: ["/env"],
        set: [
          { name: "A", value: "1" },
          { name: "B", value: "2" },
        ],
      },
      annotations: [{ name: "example.com/x", value: "y" }],
      userAnnotations: [{ name: "k", value: "v" }],
      userLabels: [{ name: "tier", value: "db" }],
      ports: [
        { name: "http", hostPort: 8080, hostIP: undefined },
        { name: "53-udp", hostPort: 5353, hostIP: "127.0.0.1" },
      ],
      network: "mynet:IP=1.2.3.4,other",
      resolver: {
        servers: ["192.0.2.1", "2001:db8::1"],
        domain: "example.com",
        search: ["a.example"],
        options: ["ndots:2"],
      },
      hosts: [
        { address: "192.0.2.7", names: ["db", "db.example"] },
        { address: "::1", names: ["self"] },
      ],
      hostname: "db-1.example.com",
    },
  },
  {
    name: "the seed's private network",
    words: ["-private-net", "i", "--interactive", "--dns=host", "--hosts-entry=host"],
    request: { apps: [app("i")], network: "default", interactive: true, resolver: "host", hosts: "host" },
  },
  {
    name: "a pod manifest",
    words: ["--pod-manifest=/m.json", "--net=none", "--dns=none"],
    request: { podManifest: "/m.json", network: "none", resolver: "none" },
  },
  {
    name: "values that look like something else",
    words: ["i", "--exec=--", "--environment=A='x'", "--environment=B=true", "--user=007", "--name=1e3"],
    request: {
      apps: [
        app("i", {
          exec: "--",
          environment: [
            { name: "A", value: "'x'" },
            { name: "B", value: "true" },
          ],
          user: "007",
          name: "1e3",
        }),
      ],
    },
  },
];

for (const { name, words, request } of requests)
  test(`run line: ${name}`, async () => {
    assert.deepEqual((await read(words)).request.run, { ...emptyRequest, ...request });
  });

test("run line: how to run it", async () => {
  const plain = await read(["i"]);
  assert.deepEqual(
    [plain.request.stage1, plain.request.pullPolicy, plain.rm, plain.request.overlay, plain.request.uuidFile],
    [undefined, "new", false, true, undefined],
  );
  assert.deepEqual(plain.request.metadataService, { register: undefined, spawn: false });
  const { request, rm } = await read([
    ..."--rm --no-overlay i --uuid-file-save /u --stage1-path=/s.aci --store-only --rm=false".split(" "),
  ]);
  assert.deepEqual(
    [request.stage1, request.pullPolicy, rm, request.overlay, request.uuidFile],
    [{ by: "path", text: "/s.aci" }, "never", false, false, "/u"],
  );
  const wishes: [words: string[], expected: object][] = [
    [["--mds-register"], { register: "must", spawn: false }],
    [["--mds-register=false", "--spawn-metadata-svc"], { register: "never", spawn: true }],
  ];
  for (const [words, expected] of wishes)
    assert.deepEqual((await read([...words, "i"])).request.metadataService, expected);
  assert.equal((await read(["--no-store", "i"])).request.pullPolicy, "update");
  assert.deepEqual((await read(["--stage1-from-dir=x.aci", "i"])).request.stage1, { by: "from-dir", text: "x.aci" });
});

const refused: { words: string[]; message: RegExp; hint?: string }[] = [
  { words: [], message: /^there is no image$/ },
  {
    words: ["--exec=/bin/date", "i"],
    message: /^--exec must follow an image$/,
    hint: "rkt run IMAGE --exec=/bin/date",
  },
  { words: ["i", "--name=a", "--name=b"], message: /^--name is given twice$/ },
  { words: ["i", "--hostname=a", "--hostname=b"], message: /^--hostname is given twice$/ },
  { words: ["i", "--name=No_Name"], message: /^--name "No_Name": must be lower-case letters/ },
  { words: ["i", "--name=../../etc"], message: /^--name "..\/..\/etc": must be/ },
  { words: ["i", "--exec="], message: /^--exec "": must not be empty$/ },
  { words: ["i", "--working-dir=tmp"], message: /^--working-dir "tmp": must be absolute$/ },
  { words: ["i", "--user="], message: /^--user "": must not be empty$/ },
  { words: ["i", "--supplementary-gids=1,x"], message: /^--supplementary-gids "x": must be a number from 0/ },
  { words: ["--set-env=", "i"], message: /^--set-env "": is not NAME=VALUE$/ },
  { words: ["--set-env", "", "i"], message: /^--set-env "": is not NAME=VALUE$/ },
  { words: ["--set-env=A", "i"], message: /^--set-env "A": is not NAME=VALUE$/ },
  { words: ["--set-env==x", "i"], message: /^--set-env "=x": is not NAME=VALUE$/ },
  { words: ["--set-env=1A=x", "i"], message: /^--set-env "1A": must be a letter/ },
  { words: ["--set-env=A=1", "--set-env=A=2", "i"], message: /^--set-env "A=2": A is given twice$/ },
  {
    words: ["--annotation=coreos.com/rocket/insecure-options=seccomp", "i"],
    message: /^--annotation: coreos.com\/rocket\/insecure-options is rkt's own$/,
  },
  {
    words: ["i", "--annotation=coreos.com/rocket/early-image=0.1.0"],
    message: /^--annotation: coreos.com\/rocket\/early-image is rkt's own$/,
  },
  {
    words: ["--annotation=coreos.com/rocket/pre-start-timeout=1", "i"],
    message: /^--annotation: coreos.com\/rocket\/pre-start-timeout is rkt's own$/,
  },
  { words: ["i", "--annotation=A b=1"], message: /^--annotation "A b": must be/ },

  { words: ["--volume=data", "i"], message: /^--volume "data": says no source$/, hint: "--volume=NAME:/PATH" },
  { words: ["--volume=data:srv", "i"], message: /^--volume "srv": must be absolute$/ },
  { words: ["--volume=:/srv", "i"], message: /^--volume "": must be lower-case letters/ },
  { words: ["--volume=data,source=/x", "i"], message: /^--volume .*: kind is host or empty$/ },
  { words: ["--volume=data,kind=nfs", "i"], message: /^--volume .*: kind is host or empty$/ },
  { words: ["--volume=data,kind=host", "i"], message: /^--volume .*: says no source$/ },
  { words: ["--volume=data,kind=empty,source=/x", "i"], message: /: source has no meaning for kind=empty$/ },
  { words: ["--volume=data,kind=host,source=/x,mode=0700", "i"], message: /: mode has no meaning for kind=host$/ },
  { words: ["--volume=data,kind=empty,mode=9", "i"], message: /^--volume "9": must be an octal mode/ },
  { words: ["--volume=data,kind=empty,readonly=1", "i"], message: /: "readonly=1" is not kind=, source=, readOnly=/ },
  { words: ["--volume=data,kind=empty,readOnly=yes", "i"], message: /: readOnly is true or false, not "yes"$/ },
  { words: ["--volume=data,kind=empty,kind=host", "i"], message: /: kind is given twice$/ },
  { words: ["i", "--mount=volume=data"], message: /^--mount "volume=data": needs a volume and a target$/ },
  { words: ["i", "--mount=volume=data,target="], message: /: must not be empty$/ },

  { words: ["--port=80", "--net", "i"], message: /^--port "80": must be a port's name and a port of the host$/ },
  { words: ["--port=http:0", "--net", "i"], message: /^--port "0": must be a number from 1 to 65535$/ },
  { words: ["--port=http:1.2.3:80", "--net", "i"], message: /^--port "1.2.3": must be an IPv4 address$/ },
  { words: ["--port=http:80", "i"], message: /^--port needs a network .* is host$/, hint: "add --net" },
  { words: ["--dns=example.com", "i"], message: /^--dns "example.com": must be an IP address$/ },
  { words: ["--dns=::1]/[", "i"], message: /: must be an IP address$/ },
  { words: ["--dns=host", "--dns-search=x", "i"], message: /^--dns=host stands alone$/ },
  { words: ["--dns-search=a\nnameserver 6.6.6.6", "i"], message: /^--dns-search ".*": must be one word$/ },
  { words: ["--hosts-entry=1.2.3=db", "i"], message: /^--hosts-entry "1.2.3": must be an IP address$/ },
  { words: ["--hostname=a_b", "i"], message: /^--hostname "a_b": must be at most 64 letters/ },

  // Thousandths of a byte. On cgroup v2 the launcher is limited, too.
  { words: ["i", "--memory=16m"], message: /^--memory "16m": must be at least (1|24)Mi$/, hint: "--memory=512Mi" },
  { words: ["i", "--memory=10K"], message: /^--memory "10K": must be at least (1|24)Mi$/, hint: "--memory=512Mi" },
  { words: ["i", "--memory=lots"], message: /^--memory "lots": must be an amount$/ },
  { words: ["i", "--cpu=much"], message: /^--cpu "much": must be an amount of cores$/ },
  { words: ["i", "--cpu=0"], message: /^--cpu "0": must be at least (1|10)m$/, hint: "--cpu=500m" },
  { words: ["i", "--cpu=0.0001"], message: /^--cpu "0.0001": must be at least (1|10)m$/ },
  { words: ["i", "--cpu-shares=1"], message: /^--cpu-shares "1": must be a number from 2 to 262144$/ },
  { words: ["i", "--oom-score-adj=1001"], message: /must be a number from -1000 to 1000$/ },
  { words: ["i", "--caps-retain=chown"], message: /^--caps-retain "chown": must be a capability/ },
  {
    words: ["i", "--caps-retain=CAP_KILL", "--caps-remove=CAP_KILL"],
    message: /^arguments caps-retain and caps-remove are mutually exclusive$/,
  },
  { words: ["i", "--seccomp=chmod"], message: /: mode is retain or remove$/ },
  { words: ["i", "--seccomp=mode=retain"], message: /: names no system call$/ },
  {
    words: ["i", "--seccomp=mode=remove,execve"],
    message: /^--seccomp "mode=remove,execve": must not have execve: no app starts without it$/,
  },
  { words: ["i", "--ulimit=files=1"], message: /^--ulimit "files=1": "files" is none of cpu, fsize, / },
  { words: ["i", "--ulimit=core"], message: /^--ulimit "core": is not NAME=VALUE$/ },
  { words: ["i", "--ulimit=core=x"], message: /: a limit is a number or unlimited$/ },
  { words: ["i", "--ulimit=core=1:2:3"], message: /: a limit is a number or unlimited$/ },
  { words: ["i", "--ulimit=core=2:1"], message: /: the soft limit is more than the hard one$/ },
  { words: ["i", "--ulimit=core=1", "--ulimit=core=2"], message: /: core is given twice$/ },
  { words: ["i", "--seccomp=mode=retain,errno=1,chmod"], message: / "1": must be an error name like "EPERM"$/ },

  { words: ["--ipc=host", "i"], message: /ipc/ },
  {
    words: ["i", "--ipc=parent", "--private-users"],
    message: /^--ipc=parent can't be had with --private-users: /,
    hint: "leave one out",
  },
  { words: ["--interactive", "a", "b"], message: /^--interactive gives the terminal to one app, not to several$/ },
  { words: ["--pod-manifest=/m", "a"], message: /^--pod-manifest names the images: a can't be one more$/ },
  {
    words: ["--pod-manifest=/m", "--set-env=A=1"],
    message: /^--set-env has no meaning with --pod-manifest$/,
    hint: "say it in the manifest",
  },
  ...["no-store", "store-only"].map((name) => ({
    words: ["--pod-manifest=/p", `--${name}`],
    message: new RegExp(`^--${name} has no meaning with --pod-manifest$`),
  })),
  { words: ["--stage1-path=/a", "--stage1-url=b", "i"], message: /stage1-path and stage1-url are mutually exclusive/ },
  { words: ["--net", "--private-net", "i"], message: /net and private-net are mutually exclusive/ },
];

for (const { words, message, hint } of refused)
  test(`run line refused: ${words.join(" ").replaceAll("\n", "\\n") || "nothing"}`, async () => {
    await assert.rejects(read(words), (error: unknown) => {
      assert.ok(error instanceof RktError, String(error));
      assert.match(error.message, message);
      assert.equal(error.exitCode, 2);
      if (hint !== undefined) assert.equal(error.hint, hint);
      return true;
    });
  });
