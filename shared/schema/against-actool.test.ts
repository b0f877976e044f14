/**
 * What the spec's own parser (`actool validate`, 0.8.11) and ours make of the same manifests: equal, or different for a
 * reason that docs/conformance.md gives ("Against actool"), kind by kind.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { actoolAccepts } from "../../test/helpers/actool.ts";
import { parseImageManifest } from "./image-manifest.ts";
import { understandIsolators } from "./isolators.ts";
import { ManifestError } from "./manifest-error.ts";
import { parsePodTemplate } from "./pod-manifest.ts";

function accepted(text: string): boolean {
  try {
    if (text.includes("PodManifest")) parsePodTemplate(text);
    else {
      const { app } = parseImageManifest(text);
      understandIsolators(app?.isolators ?? [], { object: "manifest", path: "app.isolators" });
    }
    return true;
  } catch (error) {
    assert.ok(error instanceof ManifestError, String(error));
    return false;
  }
}

const id = `sha512-${"0".repeat(128)}`;
const json = JSON.stringify;
const named = (name: string, acVersion = "0.8.11") => json({ acKind: "ImageManifest", acVersion, name });
const image = (more: object) => json({ acKind: "ImageManifest", acVersion: "0.8.11", name: "example.com/a", ...more });
const app = (more: object) => image({ app: { exec: ["/a"], user: "0", group: "0", ...more } });
const pod = (more: object) => json({ acKind: "PodManifest", acVersion: "0.8.11", apps: [], ...more });
const mount = (more: object) => pod({ apps: [{ name: "a", image: { id }, mounts: [{ volume: "v", ...more }] }] });
const volume = (more: object) => pod({ volumes: [{ name: "a", ...more }] });
const published = (more: object) => pod({ ports: [{ name: "a", hostPort: 1, ...more }] });
const isolator = (name: string, value: unknown) => app({ isolators: [{ name, value }] });
const memory = (limit: unknown) => isolator("resource/memory", { limit });
const seccomp = (set: string[], errno?: string) => isolator("os/linux/seccomp-retain-set", { set, errno });
const platform = (os: string, arch: string) =>
  image({
    labels: [
      { name: "os", value: os },
      { name: "arch", value: arch },
    ],
  });
const annotation = (name: string, value: string) => image({ annotations: [{ name, value }] });
const dependency = (more: object) => image({ dependencies: [{ imageName: "a", ...more }] });

type Verdict = "both take" | "both refuse" | "only actool takes" | "only rkt takes";

const kinds: [kind: string, verdict: Verdict, texts: string[]][] = [
  [
    "names with repeated separators",
    "both take",
    ["a--b", "a__b", "a.-b", "a_b.example.com/c", "a~b"].map((name) => named(name)),
  ],
  [
    "names with empty, . and .. components",
    "only actool takes",
    ["a//b", "a/./b", "a/../b"].map((name) => named(name)),
  ],
  [
    "names with other characters, or separators at an end",
    "both refuse",
    ["", "A", "a b", "a/", "-a"].map((name) => named(name)),
  ],
  ["names of mount points with an underscore", "both refuse", [app({ mountPoints: [{ name: "a_b", path: "/b" }] })]],
  ["versions", "both take", ["0.8.11", "1.0.0", "0.8.11-rc", "00.8.11"].map((version) => named("a", version))],
  ["other versions", "both refuse", ["0.8", "v0.8.11", "0.0.0"].map((version) => named("a", version))],
  ["another major version", "only actool takes", [named("a", "2.0.0")]],
  ["labels as an object", "both refuse", [image({ labels: { os: "linux" } })]],
  [
    "object forms of 0.1.x, whatever the version",
    "only rkt takes",
    [image({ annotations: { a: "b" } }), app({ environment: { A: "b" } })],
  ],
  ["exec as a text", "only rkt takes", [app({ exec: "/a" })]],
  ["platforms that actool has in no list", "only rkt takes", [platform("plan9", "amd64"), platform("linux", "x86_64")]],
  ["platforms", "both take", [platform("linux", "amd64"), platform("linux", "aarch64")]],
  [
    "malformed URLs of a homepage",
    "only rkt takes",
    ["http://a b/", "http://[::1", "http://%zz/", "http://a:port/"].map((url) => annotation("homepage", url)),
  ],
  [
    "other schemes of a homepage",
    "both refuse",
    ["ftp://a", "a", " http://a"].map((url) => annotation("homepage", url)),
  ],
  [
    "times that RFC 3339 does not have",
    "only actool takes",
    ["2014-10-27T9:32:27Z", "2014-10-27T19:32:27,5Z", "2014-10-27T19:32:27+24:00"].map((at) =>
      annotation("created", at),
    ),
  ],
  ["days that do not exist", "both refuse", [annotation("created", "2014-02-30T00:00:00Z")]],
  ["quantities", "both take", ["1k", "1Ki", "1e3", "1E", " 1G ", "+1", 1, 1.5].map(memory)],
  ["other quantities", "both refuse", ["0x10", "1,5", "1KB", ""].map(memory)],
  ["a quantity in K", "only rkt takes", [memory("1K")]],
  ["quantities below nothing, and beyond 2^63", "only actool takes", ["-1", "99999999999999999999"].map(memory)],
  ["a request above its limit", "only actool takes", [isolator("resource/memory", { limit: "1G", request: "2G" })]],
  ["unknown isolators", "only rkt takes", [isolator("a/b", true)]],
  ["EACCESS", "both take", [seccomp(["read"], "EACCESS")]],
  ["unknown errors and system calls", "only actool takes", [seccomp(["read"], "EFOO"), seccomp(["foo_call"])]],
  [
    "unknown capabilities",
    "only actool takes",
    ["CAP_FOO", "cap_chown"].map((name) => isolator("os/linux/capabilities-retain-set", { set: [name] })),
  ],
  [
    "relative places, and those with ..",
    "only actool takes",
    [
      ...["db", "", "/a/../b"].map((path) => app({ mountPoints: [{ name: "a", path }] })),
      image({ pathWhitelist: ["etc"] }),
      mount({ path: "db" }),
    ],
  ],
  [
    "a relative working directory or source",
    "both refuse",
    [app({ workingDirectory: "a" }), volume({ kind: "host", source: "a" })],
  ],
  ["mounts by a mount point, as before 0.7.0", "both take", [mount({ mountPoint: "db" })]],
  [
    "a member given twice",
    "only actool takes",
    ['{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a","name":"b"}'],
  ],
  ["a negative group", "only actool takes", [app({ supplementaryGIDs: [-1] })]],
  ["image IDs that are a placeholder", "both take", [dependency({ imageID: "sha512-..." })]],
  [
    "image IDs that are too short, or in capitals",
    "only actool takes",
    [dependency({ imageID: "sha512-abc" }), dependency({ imageID: `sha512-${"A".repeat(128)}` })],
  ],
  [
    "members and image IDs of before 0.6.0",
    "only rkt takes",
    [dependency({ imageID: `sha256-${"0".repeat(64)}` }), image({ dependencies: [{ app: "a" }] })],
  ],
  ["modes that are empty", "both take", [volume({ kind: "empty", mode: "" }), volume({ kind: "empty", mode: "0755" })]],
  [
    "modes that are no octal number",
    "only actool takes",
    ["999", "0o755"].map((mode) => volume({ kind: "empty", mode })),
  ],
  ["a negative owner", "only actool takes", [volume({ kind: "empty", uid: -1 })]],
  [
    "port 0 of the host, and addresses of IPv6",
    "only actool takes",
    [published({ hostPort: 0 }), published({ hostIP: "::1" })],
  ],
];
for (const [kind, verdict, texts] of kinds)
  test(`against actool: ${kind}`, () => {
    for (const text of texts) {
      assert.equal(accepted(text), verdict === "both take" || verdict === "only rkt takes", `rkt: ${text}`);
      assert.equal(actoolAccepts(text), verdict === "both take" || verdict === "only actool takes", `actool: ${text}`);
    }
  });
