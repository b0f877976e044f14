/** Who vouches for an image of a registry: signatures by skopeo and gpg, by podman, and by a pair of keys as cosign has them. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { makeGpg } from "../fixtures/gpg.ts";
import { file } from "../fixtures/oci-images.ts";
import { type Machine, machineOf } from "../helpers/container-config.ts";
import { serve } from "../helpers/http-server.ts";
import { type Blob, ociImage, sha256, writeLayout } from "../helpers/oci.ts";
import { startRegistry, type TestRegistry } from "../helpers/registry.ts";
import { makeRkt, type Result, type Rkt, requires, scratchFile } from "../helpers/rkt.ts";

const gpg = makeGpg();
const alice = gpg.newKey("alice");
const bob = gpg.newKey("bob", { algorithm: "rsa3072" });

interface Setup {
  rkt: Rkt;
  machine: Machine;
  registry: TestRegistry;
  /** Pushes an image that has `text`, signed by somebody or nobody; gives its digest. */
  push(name: string, text: string, by?: string): Promise<string>;
  fetch(name: string, ...options: string[]): Promise<Result>;
  /** Trusts a key for images of the registry. */
  trust(key: string, below?: string): void;
  lookaside: string;
}

async function setup(t: TestContext): Promise<Setup | undefined> {
  if (!requires(t, "root", "build", "docker-registry", "skopeo", "gpg", "unshare")) return undefined;
  const rkt = makeRkt(t);
  const machine = machineOf(rkt);
  const registry = await startRegistry(t);
  const lookaside = join(rkt.scratch, "lookaside");
  mkdirSync(lookaside);
  machine.containers("registries.d/test.yaml", `# signatures\ndocker:\n  ${registry.host}:\n    lookaside: file://${lookaside}\n`);
  machine.containers("registries.conf", `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`);
  const skopeo = machine.program("skopeo", ["--insecure-policy", "copy", "--dest-tls-verify=false"]);
  return {
    rkt,
    machine,
    registry,
    lookaside,
    async push(name, text, by) {
      const image = ociImage([[file("text", text)]], { config: { Cmd: ["/x"] } });
      const path = join(rkt.scratch, createHash("sha256").update(text).digest("hex"));
      writeLayout(path, image);
      const signing = by === undefined ? [] : [`--sign-by=${by}`];
      const { status, stderr } = await skopeo([...signing, `oci:${path}:latest`, `docker://${registry.host}/${name}`], { GNUPGHOME: gpg.home });
      assert.equal(status, 0, stderr);
      return sha256(image.manifest);
    },
    fetch: (name, ...options) => machine.run([...machine.options, ...options, "fetch", `docker://${registry.host}/${name}`]),
    trust(key, below = "") {
      rkt.ok([...machine.options, "trust", `--prefix=${registry.host}${below}`, "--skip-fingerprint-review", key]);
    },
  };
}

const succeeds = (result: Result, said: RegExp): void => {
  assert.equal(result.status, 0, result.stderr);
  assert.match(result.stderr, said);
};
const refused = (result: Result, said: RegExp): void => {
  assert.equal(result.status, 254, result.stderr);
  assert.match(result.stderr, said);
};

test("a signature by skopeo, of a key that is trusted for the repository", async (t) => {
  const made = await setup(t);
  if (made === undefined) return;
  const { rkt, registry, push, fetch, trust } = made;
  await push("team/app:1", "one", alice);
  refused(await fetch("team/app:1"), new RegExp(`nobody who is trusted vouches for \\S+: .*key ${alice.toUpperCase()} is not trusted\nhint: .*rkt trust --prefix=127\\.0\\.0\\.1~\\d+/team/app`));
  assert.equal(rkt.ok(["image", "list", "--no-legend"]).stdout, "");
  assert.deepEqual((await registry.requests()).filter((line) => /^GET .*\/blobs\//.test(line)), []);

  trust(scratchFile(rkt, "alice.asc", gpg.export(alice)), "/team");
  succeeds(await fetch("team/app:1"), /^rkt: signature verified:\n {2}alice <alice@example\.com>$/m);
  const [image] = JSON.parse(rkt.ok(["image", "list", "--format=json"]).stdout);
  assert.equal(image.provenance, "verified");
  // What was verified is known, and asked for by one request.
  const before = (await registry.requests()).length;
  assert.equal((await fetch("team/app:1")).status, 0);
  assert.deepEqual((await registry.requests()).slice(before), ["HEAD /v2/team/app/manifests/1"]);

  // Another image under the tag is not what was signed.
  await push("team/app:1", "another");
  refused(await fetch("team/app:1"), /\/team\/app:1 is not signed\nhint: .*@sha256:[0-9a-f]{64}/);
  // A key for one prefix is none for others.
  await push("other/app:1", "two", alice);
  refused(await fetch("other/app:1"), /the key of alice .* is trusted for 127\.0\.0\.1~\d+\/team only/);
});

test("a signature is for its own name, tag and image", async (t) => {
  const made = await setup(t);
  if (made === undefined) return;
  const { rkt, registry, push, fetch, trust, lookaside } = made;
  const { host } = registry;
  trust(scratchFile(rkt, "alice.asc", gpg.export(alice)));
  const one = await push("app:1", "one", alice);
  const two = await push("app:2", "two");
  const place = (repository: string, digest: string) => join(lookaside, `${repository}@${digest.replace(":", "=")}`);
  const signatures = (from: string, to: string) => cpSync(from, to, { recursive: true });

  // The signed image, under another tag and another repository.
  await push("app:latest", "one");
  refused(await fetch("app:latest"), new RegExp(`it is of ${registry.host}/app:1`));
  await push("evil:1", "one");
  signatures(place("app", one), place("evil", one));
  refused(await fetch("evil:1"), new RegExp(`it is of ${registry.host}/app:1`));
  // The signature of another image.
  signatures(place("app", one), place("app", two));
  refused(await fetch("app:2"), /it is of another image, sha256:/);

  // A document that says something else, signed as well.
  const claim = (change: object, type = "atomic container signature") => ({
    critical: {
      identity: { "docker-reference": `${registry.host}/app:3` },
      image: { "docker-manifest-digest": three },
      type,
      ...change,
    },
    optional: { creator: "test" },
  });
  const three = await push("app:3", "three");
  mkdirSync(place("app", three));
  const write = (name: string, document: string | object, by = alice) => {
    const text = typeof document === "string" ? document : JSON.stringify(document);
    const signed = gpg.run(["--sign", "--local-user", by], { input: text });
    writeFileSync(join(place("app", three), name), signed);
  };
  const cases: [document: string | object, said: RegExp][] = [
    [claim({}, "cosign container image signature"), /critical\.type: must be/],
    [claim({ identity: { "docker-reference": `${registry.host}/app` } }), /it is of no tag of/],
    [claim({ identity: { "docker-reference": `${registry.host}/app:3@${three}` } }), /verified/],
    [claim({ identity: { "docker-reference": "" } }), /it names no image/],
    [claim({ identity: {} }), /docker-reference: is required/],
    [claim({ image: { "docker-manifest-digest": "sha256:1" } }), /must be "sha256:"/],
    ["no JSON", /the signed document/],
    [JSON.stringify(claim({})).replace("{", '{"critical":{},'), /is given twice/],
    [`${" ".repeat(1 << 20)}`, /more than 65536|larger|too large|exceed/i],
  ];
  for (const [document, said] of cases) {
    write("signature-1", document);
    const result = await fetch("app:3");
    assert.match(result.stderr, said);
    assert.equal(result.status, said.source === "verified" ? 0 : 254, result.stderr);
    rkt.run(["image", "rm", `${host.replace(":", "~")}/app`]);
  }
  writeFileSync(join(place("app", three), "signature-1"), "no message");
  refused(await fetch("app:3"), /is no signed OpenPGP message/);
  // One good signature is enough, after others that are not.
  write("signature-2", claim({}), bob);
  write("signature-3", claim({}));
  succeeds(await fetch("app:3"), /alice <alice@example\.com>/);
});

test("signatures on a web server", async (t) => {
  const made = await setup(t);
  if (made === undefined) return;
  const { rkt, machine, registry, push, fetch, trust, lookaside } = made;
  trust(scratchFile(rkt, "alice.asc", gpg.export(alice)));
  const digest = await push("team/app:1", "one", alice);
  let works = false;
  const web = await serve(t, (request, response) => {
    const path = join(lookaside, (request.url ?? "").replace("/sigs/", ""));
    if (!works) response.writeHead(404, { "content-type": "text/html" }).end("<html>");
    else if (existsSync(path)) response.end(readFileSync(path));
    else response.writeHead(404).end();
  });
  machine.containers("registries.d/test.yaml", `docker:\n  ${registry.host}:\n    lookaside: ${web.base}/sigs\n`);
  refused(await fetch("team/app:1"), /\/team\/app:1 is not signed$/m);
  works = true;
  succeeds(await fetch("team/app:1"), /alice <alice@example\.com>/);
  assert.equal(web.seen.at(-1)?.url, `/sigs/team/app@${digest.replace(":", "=")}/signature-1`);
});

test("a key that is revoked or expired signs nothing", async (t) => {
  const made = await setup(t);
  if (made === undefined) return;
  const { rkt, push, fetch, trust } = made;
  const carol = gpg.newKey("carol");
  await push("app:1", "one", carol);
  gpg.revoke(carol, { reason: 1 });
  trust(scratchFile(rkt, "carol.asc", gpg.export(carol)));
  refused(await fetch("app:1"), /the key of carol .* was revoked/);
});

test("podman push --sign-by", async (t) => {
  const made = await setup(t);
  if (made === undefined || !requires(t, "podman")) return;
  const { rkt, machine, registry, fetch, trust, lookaside } = made;
  const base = join(rkt.scratch, "base");
  writeLayout(base, ociImage([[file("text", "podman")]]));
  const archive = join(rkt.scratch, "base.tar");
  execFileSync("skopeo", ["--insecure-policy", "copy", `oci:${base}:latest`, `docker-archive:${archive}:example.com/base:1`], { stdio: "pipe" });
  machine.containers("policy.json", '{"default":[{"type":"insecureAcceptAnything"}]}');
  const root = join(rkt.scratch, "podman");
  const podman = machine.program("podman", [`--root=${root}`, `--runroot=${root}.run`, "--storage-driver=vfs"]);
  const run = async (...args: string[]) => {
    const { status, stderr } = await podman(args, { GNUPGHOME: gpg.home });
    assert.equal(status, 0, stderr);
  };
  await run("load", "-q", "-i", archive);
  await run("push", "-q", "--tls-verify=false", `--sign-by=${bob}`, "example.com/base:1", `docker://${registry.host}/pod:1`);
  assert.equal(readdirSync(lookaside).length, 1);
  trust(scratchFile(rkt, "bob.asc", gpg.export(bob)));
  succeeds(await fetch("pod:1"), /bob <bob@example\.com>/);
});

// --- pairs of keys ---------------------------------------------------------------------------------

/** As cosign pushes it: a manifest under a tag, whose layers are the signed documents. */
function cosign(
  { rkt, registry }: Setup,
  repository: string,
  digest: string,
  key: KeyObject,
  change: { claim?: object; signature?: string; type?: string } = {},
): void {
  const { claim = {}, type = "cosign container image signature" } = change;
  const document = Buffer.from(
    JSON.stringify({
      critical: {
        identity: { "docker-reference": `${registry.host}/${repository}` },
        image: { "docker-manifest-digest": digest },
        type,
        ...claim,
      },
      optional: null,
    }),
  );
  const algorithm = key.asymmetricKeyType === "ed25519" ? null : "sha256";
  const signature = change.signature ?? sign(algorithm, document, key).toString("base64");
  const layer: Blob = { mediaType: "application/vnd.dev.cosign.simplesigning.v1+json", digest: sha256(document), bytes: document };
  const config = Buffer.from(JSON.stringify({ architecture: "", os: "", config: {}, rootfs: { type: "layers", diff_ids: [layer.digest] } }));
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: { mediaType: "application/vnd.oci.image.config.v1+json", size: config.length, digest: sha256(config) },
      layers: [
        {
          mediaType: layer.mediaType,
          size: document.length,
          digest: layer.digest,
          annotations: { "dev.cosignproject.cosign/signature": signature },
        },
      ],
    }),
  );
  const base = `http://${registry.host}/v2/${repository}`;
  for (const bytes of [document, config]) {
    const start = curl(["-X", "POST", "-D", "-", "-o", "/dev/null", `${base}/blobs/uploads/`]);
    const location = /^location: (\S+)/im.exec(start)?.[1] ?? "";
    const path = scratchFile(rkt, "blob", bytes);
    curl(["-X", "PUT", "-H", "content-type: application/octet-stream", "--data-binary", `@${path}`, `${location}&digest=${sha256(bytes)}`]);
  }
  const path = scratchFile(rkt, "manifest", manifest);
  const mediaType = "content-type: application/vnd.oci.image.manifest.v1+json";
  curl(["-X", "PUT", "-H", mediaType, "--data-binary", `@${path}`, `${base}/manifests/${digest.replace(":", "-")}.sig`]);
}

const curl = (args: readonly string[]): string => execFileSync("curl", ["-sfS", ...args], { encoding: "utf8" });

const pairs = {
  "ecdsa-p256": generateKeyPairSync("ec", { namedCurve: "P-256" }),
  "ecdsa-p384": generateKeyPairSync("ec", { namedCurve: "P-384" }),
  ed25519: generateKeyPairSync("ed25519"),
  rsa2048: generateKeyPairSync("rsa", { modulusLength: 2048 }),
};
const pem = (key: KeyObject) => key.export({ type: "spki", format: "pem" }).toString();

test("cosign's signatures, by each kind of key", async (t) => {
  const made = await setup(t);
  if (made === undefined || !requires(t, "curl")) return;
  const { rkt, machine, push, fetch, trust } = made;
  for (const [name, { publicKey, privateKey }] of Object.entries(pairs)) {
    const digest = await push(`${name}:1`, name);
    cosign(made, name, digest, privateKey);
    refused(await fetch(`${name}:1`), /no key of its kind is trusted for the image\nhint: .*cosign\.pub/);
    trust(scratchFile(rkt, "cosign.pub", pem(publicKey)), `/${name}`);
    succeeds(await fetch(`${name}:1`), new RegExp(`signature verified:\\n  key [0-9a-f]{64} \\(${name}\\)`));
  }
  const list = rkt.ok([...machine.options, "trust", "--list", "--no-legend"]).stdout;
  assert.match(list, /^127\.0\.0\.1~\d+\/ed25519 +[0-9a-f]{64} +trusted +\(ed25519 without an owner\)$/m);
  const [, fingerprint = ""] = /([0-9a-f]{64})/.exec(list) ?? [];
  rkt.ok([...machine.options, "trust", "--remove", fingerprint]);
  const images = JSON.parse(rkt.ok(["image", "list", "--format=json"]).stdout) as { provenance: string }[];
  assert.ok(images.length === 4 && images.every(({ provenance }) => provenance === "verified"));
});

test("cosign's signatures that do not count", async (t) => {
  const made = await setup(t);
  if (made === undefined || !requires(t, "curl")) return;
  const { rkt, registry, push, fetch, trust } = made;
  const { publicKey, privateKey } = pairs["ecdsa-p256"];
  trust(scratchFile(rkt, "cosign.pub", pem(publicKey)));
  const digest = await push("app:1", "one");
  const other = `sha256:${"0".repeat(64)}`;
  const cases: [key: KeyObject, change: Parameters<typeof cosign>[4], said: RegExp][] = [
    [pairs["ecdsa-p384"].privateKey, {}, /no key that is trusted for the image has made it/],
    [privateKey, { signature: "AAAA" }, /no key that is trusted for the image has made it/],
    [privateKey, { signature: "?" }, /must be base64/],
    [privateKey, { claim: { image: { "docker-manifest-digest": other } } }, /it is of another image/],
    [privateKey, { claim: { identity: { "docker-reference": `${registry.host}/evil` } } }, /it is of \S+\/evil/],
    [privateKey, { claim: { identity: { "docker-reference": `${registry.host}/app:2` } } }, /it is of \S+\/app:2/],
    [privateKey, { type: "atomic container signature" }, /critical\.type: must be/],
  ];
  for (const [key, change, said] of cases) {
    cosign(made, "app", digest, key, change);
    refused(await fetch("app:1"), said);
  }
  cosign(made, "app", digest, privateKey, { claim: { identity: { "docker-reference": `${registry.host}/app:1` } } });
  succeeds(await fetch("app:1"), /signature verified/);
});

test("keys that are none, and secret ones", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const { options } = machineOf(rkt);
  const fails = (text: string, said: RegExp) =>
    rkt.fails([...options, "trust", "--prefix=docker.io/library", "--skip-fingerprint-review", scratchFile(rkt, "k.pub", text)], 254, said);
  const { publicKey, privateKey } = pairs["ecdsa-p256"];
  const secret = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  fails(secret, /it is a secret key/);
  fails("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n", /it is a secret key/);
  fails(pem(publicKey) + pem(publicKey), /it must have one key/);
  fails(pem(publicKey).replace(/\n.{10}/, "\nAAAAAAAAAA"), /it is no public key/);
  fails(pem(generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey), /neither ECDSA/);
  fails(pem(generateKeyPairSync("x25519").publicKey), /neither ECDSA/);
  assert.ok(!existsSync(join(rkt.scratch, "machine/local/trustedkeys")));
});
