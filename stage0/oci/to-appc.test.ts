import assert from "node:assert/strict";
import { test } from "node:test";
import { actoolAccepts } from "../../test/helpers/actool.ts";
import { formatImageManifest, parseImageManifest } from "../../shared/schema/image-manifest.ts";
import { parseConfiguration } from "./configuration.ts";
import { toImageManifest } from "./to-appc.ts";

const digest = `sha256:${"4".repeat(64)}`;

function mapped(config: object, over: object = {}, reference = "docker://docker.io/library/nginx:1.25"): string {
  const text = { architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [] }, config, ...over };
  const configuration = parseConfiguration(Buffer.from(JSON.stringify(text)));
  return formatImageManifest(toImageManifest(configuration, { name: "docker.io/library/nginx", reference, digest }));
}

const annotations = (text: string): Record<string, string> =>
  Object.fromEntries(parseImageManifest(text).annotations.map(({ name, value }) => [name, value]));

test("all fields", () => {
  const text = mapped(
    {
      User: "nginx",
      ExposedPorts: { "80/tcp": {}, "443": {}, "443/tcp": {}, "8000-8010/udp": {} },
      Env: ["PATH=/bin", "A=1", "A=2"],
      Entrypoint: ["/docker-entrypoint.sh"],
      Cmd: ["nginx", "-g", "daemon off;"],
      Volumes: { "/var/lib/data": {}, "/var/lib-data": {}, "/Var/Lib/Data/": {} },
      WorkingDir: "/srv",
      Labels: { "org.opencontainers.image.title": "nginx", "Maintainer ": "me" },
      StopSignal: "SIGQUIT",
      Healthcheck: { Test: ["CMD", "curl", "-f", "http://localhost/"], Interval: 30000000000 },
    },
    { created: "2024-01-02T03:04:05.678Z", author: "somebody" },
  );
  assert.deepEqual(JSON.parse(text), {
    acKind: "ImageManifest",
    acVersion: "0.8.11",
    name: "docker.io/library/nginx",
    labels: [
      { name: "version", value: "1.25" },
      { name: "os", value: "linux" },
      { name: "arch", value: "amd64" },
    ],
    app: {
      exec: ["/docker-entrypoint.sh", "nginx", "-g", "daemon off;"],
      user: "nginx",
      group: "0",
      workingDirectory: "/srv",
      environment: [
        { name: "PATH", value: "/bin" },
        { name: "A", value: "2" },
      ],
      mountPoints: [
        { name: "volume-var-lib-data", path: "/var/lib/data" },
        { name: "volume-var-lib-data-2", path: "/var/lib-data" },
        { name: "volume-var-lib-data-3", path: "/Var/Lib/Data" },
      ],
      ports: [
        { name: "443-tcp", protocol: "tcp", port: 443 },
        { name: "80-tcp", protocol: "tcp", port: 80 },
        { name: "8000-8010-udp", protocol: "udp", port: 8000, count: 11 },
      ],
    },
    annotations: [
      { name: "created", value: "2024-01-02T03:04:05.678Z" },
      { name: "authors", value: "somebody" },
      { name: "appc.io/executor/stop-signal", value: "SIGQUIT" },
      { name: "appc.io/docker/entrypoint", value: '["/docker-entrypoint.sh"]' },
      { name: "appc.io/docker/cmd", value: '["nginx","-g","daemon off;"]' },
      { name: "coreos.com/rocket/account", value: "own" },
      { name: "coreos.com/rocket/make-working-directory", value: "true" },
      { name: "coreos.com/rocket/oci/reference", value: "docker://docker.io/library/nginx:1.25" },
      { name: "coreos.com/rocket/oci/digest", value: digest },
      {
        name: "coreos.com/rocket/oci/healthcheck",
        value: '{"Test":["CMD","curl","-f","http://localhost/"],"Interval":30000000000}',
      },
      { name: "org.opencontainers.image.title", value: "nginx" },
      { name: "maintainer", value: "me" },
    ],
  });
  assert.ok(actoolAccepts(text, /invalid ImageManifest|error unmarshaling/));
});

test("no label has an effect, and none has the name of what has one", () => {
  const labels = {
    "appc.io/executor/stop-signal": "SIGKILL",
    "appc.io/executor/supports-systemd-notify": "true",
    "coreos.com/rocket/insecure-options": "capabilities",
    "coreos.com/rocket/account": "given",
    "COREOS.com/rkt/stage1/run": "/init",
    created: "yesterday",
    homepage: "javascript:alert(1)",
    Authors: "them",
    "": "empty",
    "///": "slashes",
    "../..": "up",
    "a\u001b[31m": "escape",
    "name with spaces": "x",
    same: "1",
    SAME: "2",
  };
  const found = annotations(mapped({ Labels: labels }));
  assert.deepEqual(
    Object.keys(found).filter((name) => !/^(?:coreos\.com\/rocket\/(?:oci\/|account$)|appc\.io\/docker\/)/.test(name)),
    [
      "label/appc.io/executor/stop-signal",
      "label/appc.io/executor/supports-systemd-notify",
      "label/coreos.com/rocket/insecure-options",
      "label/coreos.com/rocket/account",
      "label/coreos.com/rkt/stage1/run",
      "label/created",
      "label/homepage",
      "label/authors",
      "a--31m",
      "name-with-spaces",
      "same",
    ],
  );
  assert.equal(found["coreos.com/rocket/account"], "own");
  assert.equal(found["same"], "1");
});

const arches: [architecture: string, variant: string | undefined, arch: string][] = [
  ["amd64", undefined, "amd64"],
  ["amd64", "v3", "amd64"],
  ["386", undefined, "i386"],
  ["arm64", "v8", "aarch64"],
  ["arm", "v7", "armv7l"],
  ["arm", "v6", "armv6l"],
  ["arm", undefined, "armv7l"],
  ["ppc64le", undefined, "ppc64le"],
  ["s390x", undefined, "s390x"],
  ["riscv64", undefined, "riscv64"],
];
for (const [architecture, variant, arch] of arches)
  test(`architecture ${architecture} ${variant ?? ""}`, () => {
    const { labels } = parseImageManifest(mapped({}, { architecture, variant }));
    assert.equal(labels.find(({ name }) => name === "arch")?.value, arch);
  });

const references: [reference: string, version: string | undefined][] = [
  ["docker://docker.io/library/nginx:latest", "latest"],
  [`docker://docker.io/library/nginx:1.25@${digest}`, "1.25"],
  [`docker://docker.io/library/nginx@${digest}`, undefined],
  ["docker://localhost:5000/nginx", undefined],
  ["docker://localhost:5000/nginx:v1", "v1"],
  ["oci:/srv/image", undefined],
];
for (const [reference, version] of references)
  test(`the version of ${reference}`, () => {
    const { labels } = parseImageManifest(mapped({}, {}, reference));
    assert.equal(labels.find(({ name }) => name === "version")?.value, version);
  });

test("what Linux or appc do not have is left out", () => {
  const found = annotations(mapped({ StopSignal: "SIGFOO" }, { created: "0000-13-99" }));
  assert.equal(found["appc.io/executor/stop-signal"], undefined);
  assert.equal(found["created"], undefined);
});

test("a user with a group has that and no other", () => {
  const text = mapped({ User: "web:www" });
  assert.equal(annotations(text)["coreos.com/rocket/account"], "given");
  assert.equal(parseImageManifest(text).app?.group, "www");
});
