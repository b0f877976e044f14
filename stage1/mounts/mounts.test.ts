import assert from "node:assert/strict";
import { test } from "node:test";
import { ANNOTATIONS } from "../../shared/contract/annotations.ts";
import { hostPath } from "../../shared/contract/paths.ts";
import type { PodManifest, Volume } from "../../shared/schema/types.ts";
import { type ContainerMountStep, planContainerMounts } from "./mounts.ts";

const uuid = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";

const manifest = (volumes: Volume[], annotations: { name: string; value: string }[] = []): PodManifest => ({
  acVersion: "0.8.11",
  acKind: "PodManifest",
  apps: [],
  volumes,
  isolators: [],
  annotations,
  ports: [],
  userAnnotations: {},
  userLabels: {},
});

const show = (step: ContainerMountStep): string =>
  "sources" in step ? `${step.kind} ${step.sources.join(" or ")} ${step.target}` : showOther(step);

const showOther = (step: ContainerMountStep): string =>
  "source" in step
    ? `${step.kind} ${step.source} ${step.target}${step.kind === "bind" ? `${step.mapped ? " mapped" : ""}${step.readOnly ? " ro" : ""}${step.recursive ? " rec" : ""}` : ""}`
    : `${step.kind} ${step.target}`;

test("the whole plan, in order: programs read-only; then a tmpfs, so that no target is the image's", () => {
  const plan = planContainerMounts(
    manifest([
      { name: "data", kind: "host", source: "/srv/data", readOnly: false },
      { name: "conf", kind: "host", source: "/etc/x.conf", readOnly: true, recursive: false },
      { name: "scratch", kind: "empty", readOnly: false },
    ]),
    uuid,
    undefined,
    ["cpu", "memory"].map((controller) => ({
      app: "web",
      controller: controller as "cpu" | "memory",
      dir: hostPath(`/sys/fs/cgroup/${controller}/x`),
    })),
  );
  assert.deepEqual(plan.map(show), [
    "freeze ./stage1/rootfs/usr",
    "tmpfs ./stage1/rootfs/rkt",
    "bind ./container ./stage1/rootfs/rkt/container mapped ro",
    "bind ./status ./stage1/rootfs/rkt/status mapped",
    "bind ./log ./stage1/rootfs/rkt/log mapped",
    "bind ./volumes ./stage1/rootfs/rkt/volumes mapped",
    "directory ./stage1/rootfs/rkt/stdio",
    "directory ./stage1/rootfs/rkt/accounts",
    "directory ./stage1/rootfs/rkt/etc",
    "copy /etc/resolv.conf ./stage1/rootfs/rkt/etc/resolv.conf",
    "text ./stage1/rootfs/rkt/etc/hostname",
    "text ./stage1/rootfs/rkt/etc/machine-id",
    "text ./stage1/rootfs/rkt/etc/hosts",
    "directory ./stage1/rootfs/rkt/host-volumes",
    "directory ./stage1/rootfs/rkt/cgroups",
    "directory ./stage1/rootfs/rkt/cgroups/web",
    "bind /sys/fs/cgroup/cpu/x ./stage1/rootfs/rkt/cgroups/web/cpu",
    "bind /sys/fs/cgroup/memory/x ./stage1/rootfs/rkt/cgroups/web/memory",
    "bind /srv/data ./stage1/rootfs/rkt/host-volumes/data rec",
    "bind /etc/x.conf ./stage1/rootfs/rkt/host-volumes/conf ro",
  ]);
});

test("a network of its own has a sysfs of its own, below what else is mounted", () => {
  assert.deepEqual(planContainerMounts(manifest([]), uuid, { namespace: 9, addresses: [], nameServers: [] })[1], {
    kind: "sysfs",
    target: "./stage1/rootfs/sys",
    namespace: 9,
  });
});

test("kernel parameters: those of the network are not the inside's to set where its users are its own", () => {
  const isolators = [{ name: "os/unix/sysctl", value: { "net.core.somaxconn": "9", "kernel.msgmax": "8" } }];
  const parameters = (annotations: { name: string; value: string }[]) =>
    planContainerMounts({ ...manifest([], annotations), isolators }, uuid, { ...networks, namespace: 9 }).flatMap((step) =>
      step.kind === "text" && step.target.endsWith("/sysctl") ? step.text : [],
    );
  assert.deepEqual(parameters([]), ["net/core/somaxconn 9\nkernel/msgmax 8\n"]);
  const [own = ""] = parameters([{ name: ANNOTATIONS.privateUsers, value: "true" }]);
  assert.match(own, /^kernel\/msgmax 8\nuser\/max_inotify_instances 1024\n/);
  assert.doesNotMatch(own, /^net\//m);
});

for (const c of [
  { name: "made of the UUID", annotations: [], hostname: `rkt-${uuid}` },
  { name: "chosen", annotations: [{ name: ANNOTATIONS.hostname, value: "db" }], hostname: "db" },
])
  test(`hostname: ${c.name}`, () => {
    const texts = planContainerMounts(manifest([], c.annotations), uuid).flatMap((step) =>
      step.kind === "text" ? [step.text] : [],
    );
    assert.deepEqual(texts, [
      `${c.hostname}\n`,
      `${uuid.replaceAll("-", "")}\n`,
      `127.0.0.1\tlocalhost\n127.0.1.1\t${c.hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n`,
    ]);
  });

const networks = { namespace: 9, addresses: ["10.1.0.2", "fd00::2"], nameServers: [] };
const RESOLV_CONF = "./stage1/rootfs/rkt/etc/resolv.conf";
const names: {
  name: string;
  annotations?: Record<string, string>;
  network?: Parameters<typeof planContainerMounts>[2];
  resolvConf: string;
  hosts?: RegExp;
}[] = [
  { name: "the host's", resolvConf: `copy /etc/resolv.conf ${RESOLV_CONF}` },
  {
    name: "a network of its own: no stub that is the host's alone, and its addresses",
    network: networks,
    resolvConf: `copy /run/systemd/resolve/resolv.conf or /etc/resolv.conf ${RESOLV_CONF}`,
    hosts: /^10\.1\.0\.2\tbox\nfd00::2\tbox\n/m,
  },
  {
    name: "the network's servers",
    network: { ...networks, nameServers: ["10.1.0.1"] },
    resolvConf: "nameserver 10.1.0.1\n",
  },
  {
    name: "asked for",
    annotations: { [ANNOTATIONS.resolvConf]: "nameserver 9.9.9.9\n", [ANNOTATIONS.hosts]: "10.0.0.1\tdb\n" },
    network: { ...networks, nameServers: ["10.1.0.1"] },
    resolvConf: "nameserver 9.9.9.9\n",
    hosts: /^10\.0\.0\.1\tdb\n$/m,
  },
  { name: "none", annotations: { [ANNOTATIONS.resolvConf]: "none" }, network: networks, resolvConf: "" },
  {
    name: "the host's, by name",
    annotations: { [ANNOTATIONS.resolvConf]: "host" },
    network: networks,
    resolvConf: `copy /etc/resolv.conf ${RESOLV_CONF}`,
  },
];
for (const c of names)
  test(`names: ${c.name}`, () => {
    const given = { [ANNOTATIONS.hostname]: "box", ...c.annotations };
    const annotations = Object.entries(given).map(([name, value]) => ({ name, value }));
    const plan = planContainerMounts(manifest([], annotations), uuid, c.network);
    const [resolv] = plan.filter((step) => step.target === RESOLV_CONF);
    assert.equal(resolv === undefined ? "" : resolv.kind === "text" ? resolv.text : show(resolv), c.resolvConf);
    const [hosts] = plan.flatMap((step) => (step.kind === "text" && step.target.endsWith("/hosts") ? [step.text] : []));
    if (c.hosts !== undefined) assert.match(hosts ?? "", c.hosts);
  });
