/** Images from Debian's docker-registry, pushed by skopeo: `docker://…` from the network to an app that runs. */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { dir, file } from "../fixtures/oci-images.ts";
import { machineOf } from "../helpers/container-config.ts";
import { makeCa, serve } from "../helpers/http-server.ts";
import { ociImage, sha256, writeLayout } from "../helpers/oci.ts";
import { makeRkt, type Rkt, requires } from "../helpers/rkt.ts";
import { registryToken, startRegistry } from "../helpers/registry.ts";

const ANY = "--insecure-options=http,image";

/** A layout with an image of two layers, the upper of which is made of `text`. */
function layout(rkt: Rkt, name: string, text = name): { dir: string; digest: string } {
  const image = ociImage(
    [
      [dir("bin"), file("bin/busybox", "", { data: readFileSync("/bin/busybox"), mode: 0o755 })],
      [dir("srv"), file("srv/text", `${text}\n`)],
    ],
    { config: { Entrypoint: ["/bin/busybox"], Cmd: ["cat", "/srv/text"] } },
  );
  const path = join(rkt.scratch, name);
  writeLayout(path, image);
  return { dir: path, digest: sha256(image.manifest) };
}

function setup(t: TestContext, ...more: string[]): Rkt | undefined {
  return requires(t, "root", "build", "docker-registry", "skopeo", "curl", ...more) ? makeRkt(t) : undefined;
}

test("a tag is fetched, runs, and is asked for again by one request; its layers are shared", async (t) => {
  const rkt = setup(t, "overlay");
  if (rkt === undefined) return;
  const registry = await startRegistry(t);
  const one = layout(rkt, "one");
  const image = `docker://${registry.host}/team/app:v1`;
  assert.equal(registry.push(`oci:${one.dir}:latest`, "team/app:v1"), one.digest);

  const first = rkt.ok([ANY, "fetch", image]);
  assert.match(first.stdout, /^sha512-[0-9a-f]{32}\n$/);
  assert.match(first.stderr, new RegExp(`^rkt: fetching ${image}$`, "m"));
  assert.match(first.stderr, /^Layer [0-9a-f]{12}: \S+ (?:k|M)?B\/\S+ (?:k|M)?B$/m);
  const before = (await registry.requests()).length;
  assert.equal(rkt.ok([ANY, "fetch", image]).stdout, first.stdout);
  // https is tried first, where http is allowed; docker-registry does not log what is no HTTP.
  assert.deepEqual((await registry.requests()).slice(before), ["HEAD /v2/team/app/manifests/v1"]);

  const ran = rkt.ok([ANY, "run", image]);
  assert.equal(ran.stdout.trim(), "one");
  assert.deepEqual((await registry.requests()).slice(before + 1), [], "a start of a stored image asks nobody");

  // Another image, of which one layer is new; and then the tag moves to it.
  const two = layout(rkt, "two");
  registry.push(`oci:${two.dir}:latest`, "team/app:v2");
  const again = rkt.ok([ANY, "fetch", image.replace("v1", "v2")]);
  assert.notEqual(again.stdout, first.stdout);
  assert.match(again.stderr, /^rkt: 1 of its 2 layers is in the store$/m);
  registry.push(`oci:${two.dir}:latest`, "team/app:v1");
  assert.equal(rkt.ok([ANY, "run", image]).stdout.trim(), "one", "what was fetched stays, until something newer is asked for");
  assert.equal(rkt.ok([ANY, "run", "--pull-policy=update", image]).stdout.trim(), "two");
  assert.notEqual(rkt.ok([ANY, "fetch", image]).stdout, first.stdout);
});

test("a digest vouches for itself; a tag needs somebody", async (t) => {
  const rkt = setup(t);
  if (rkt === undefined) return;
  const registry = await startRegistry(t);
  const { dir: from, digest } = layout(rkt, "app");
  registry.push(`oci:${from}:latest`, "app:1");
  const http = "--insecure-options=http";
  const image = `docker://${registry.host}/app`;
  const refused = rkt.fails([http, "fetch", `${image}:1`], 254, /\/app:1 is not signed$/m);
  assert.match(refused.stderr, new RegExp(`hint: if you know its digest to be right: ${image}:1@${digest};`));
  const layers = (await registry.requests()).filter((line) => /^GET .*\/blobs\//.test(line));
  assert.deepEqual(layers, [], "what nobody vouches for is not downloaded");
  assert.equal(rkt.ok(["image", "list", "--no-legend"]).stdout, "");

  const { stdout } = rkt.ok([http, "fetch", `${image}@${digest}`]);
  const asked = (await registry.requests()).length;
  assert.equal(rkt.ok([http, "fetch", `${image}@${digest}`]).stdout, stdout);
  assert.equal((await registry.requests()).length, asked, "a digest is never another image");
  const wrong = `sha256:${"0".repeat(64)}`;
  rkt.fails([http, "fetch", `${image}@${wrong}`], 254, /has no image .*@sha256:0000/);
});

test("TLS by a private authority, which the machine trusts or not", async (t) => {
  const rkt = setup(t, "openssl");
  if (rkt === undefined) return;
  const ca = makeCa(t);
  const registry = await startRegistry(t, { tls: ca });
  registry.push(`oci:${layout(rkt, "app").dir}:latest`, "app:1");
  const image = `docker://${registry.host}/app:1`;
  const options = ["--insecure-options=image", "fetch", image];
  rkt.fails(options, 254, /TLS: .*\nhint: rkt trusts whom this machine trusts/);
  rkt.ok(options, { env: { SSL_CERT_FILE: ca.file } });
});

test("a password, from rkt's own files", async (t) => {
  const rkt = setup(t, "htpasswd");
  if (rkt === undefined) return;
  const registry = await startRegistry(t, { htpasswd: { user: "me", password: "s3cret:x" } });
  registry.push(`oci:${layout(rkt, "app").dir}:latest`, "app:1");
  const machine = machineOf(rkt);
  const options = [...machine.options, ANY, "fetch", `docker://${registry.host}/app:1`];
  rkt.fails(options, 254, /registry \S+ has no \S+\/app, or it is not for everybody \(401\)[\s\S]*hint: is the name right\?/);
  const path = machine.auth(registry.host, "me", "wrong");
  const wrong = rkt.fails(options, 254, /does not take the password of user "me" \(401\)/);
  assert.ok(wrong.stderr.includes(`hint: it is from ${path};`), wrong.stderr);
  assert.doesNotMatch(wrong.stderr, /wrong/);
  machine.auth(registry.host, "me", "s3cret:x");
  rkt.ok(options);
});

test("podman's and docker's files: passwords, mirrors, what is insecure, what is blocked", async (t) => {
  const rkt = setup(t, "htpasswd", "unshare");
  if (rkt === undefined) return;
  const registry = await startRegistry(t, { htpasswd: { user: "me", password: "secret" } });
  const mirror = await startRegistry(t);
  const { dir: from } = layout(rkt, "app");
  registry.push(`oci:${from}:latest`, "app:1");
  mirror.push(`oci:${from}:latest`, "cache/app:1");
  const machine = machineOf(rkt);
  const fetch = (...images: string[]) => machine.run(["--insecure-options=image", "fetch", ...images]);

  // Named as the person likes: the location says where it is.
  machine.containers("registries.conf", `[[registry]]\nprefix = "apps.example.com"\nlocation = "${registry.host}"\ninsecure = true\n`);
  machine.home(".docker/config.json", JSON.stringify({ auths: { [registry.host]: { auth: Buffer.from("me:secret").toString("base64") } } }));
  const found = await fetch("docker://apps.example.com/app:1");
  assert.equal(found.status, 0, found.stderr);
  assert.match(rkt.ok(["image", "list", "--no-legend", "--fields=name"]).stdout, /^apps\.example\.com\/app/);

  machine.home(".docker/config.json", JSON.stringify({ auths: { [registry.host]: { auth: Buffer.from("me:wrong").toString("base64") } } }));
  const wrong = await fetch("docker://apps.example.com/app:2");
  assert.equal(wrong.status, 254);
  assert.match(wrong.stderr, /does not take the password of user "me" \(401\)\nhint: it is from \S+\/\.docker\/config\.json;/);

  machine.containers(
    "registries.conf.d/mirror.conf",
    `[[registry]]\nprefix = "apps.example.com"\nlocation = "127.0.0.1:1"\n[[registry.mirror]]\nlocation = "${mirror.host}/nothing"\ninsecure = true\n[[registry.mirror]]\nlocation = "${mirror.host}/cache"\ninsecure = true\n`,
  );
  rkt.ok(["image", "rm", "apps.example.com/app"]);
  const mirrored = await fetch("docker://apps.example.com/app:1");
  assert.equal(mirrored.status, 0, mirrored.stderr);
  assert.match(mirrored.stderr, /^rkt: mirror \S+: .*has no repository nothing\/app$/m);

  machine.containers("registries.conf.d/zz.conf", `[[registry]]\nlocation = "apps.example.com"\nblocked = true\n`);
  const blocked = await fetch("docker://apps.example.com/app:3");
  assert.equal(blocked.status, 254);
  assert.match(blocked.stderr, /the administrator has blocked apps\.example\.com: .*\nhint: \/etc\/containers\/registries\.conf\.d\/zz\.conf says so/);
});

test("tokens, as docker-registry checks them", async (t) => {
  const rkt = setup(t, "openssl");
  if (rkt === undefined) return;
  const ca = makeCa(t);
  let given = 0;
  const realm = await serve(
    t,
    (request, response) => {
      const { searchParams } = new URL(request.url ?? "", "https://x");
      const [type, name = "", actions] = (searchParams.get("scope") ?? "").split(":");
      const basic = `Basic ${Buffer.from("me:secret").toString("base64")}`;
      // skopeo, which pushes, asks for more.
      if (type !== "repository" || (request.headers.authorization ?? basic) !== basic) return void response.writeHead(401).end();
      given++;
      const known = request.headers.authorization !== undefined || name === "public";
      const access = known ? (actions ?? "").split(",") : [];
      response.end(JSON.stringify({ token: registryToken(ca, name, access, searchParams.get("service") ?? "") }));
    },
    { tls: ca },
  );
  const registry = await startRegistry(t, { token: { realm: `${realm.base}/token`, ca }, tls: ca });
  const { dir: from } = layout(rkt, "app");
  const machine = machineOf(rkt);
  const push = machine.program("skopeo", ["--insecure-policy", "copy", "--dest-tls-verify=false", "--dest-creds=me:secret"]);
  for (const repository of ["public", "private"])
    assert.equal((await push([`oci:${from}:latest`, `docker://${registry.host}/${repository}:1`])).status, 0);

  given = 0;
  const fetch = (name: string) =>
    machine.run([...machine.options, "--insecure-options=image", "fetch", `docker://${registry.host}/${name}:1`], {
      SSL_CERT_FILE: ca.file,
    });
  const anonymous = await fetch("public");
  assert.equal(anonymous.status, 0, anonymous.stderr);
  assert.equal(given, 1, "one token for all that one image takes");
  const denied = await fetch("private");
  assert.equal(denied.status, 254);
  assert.match(denied.stderr, /has no \S+\/private, or it is not for everybody \(401\): it says "authentication required"/);
  machine.auth(registry.host, "me", "secret");
  const known = await fetch("private");
  assert.equal(known.status, 0, known.stderr);
  machine.auth(registry.host, "me", "wrong");
  const wrong = await fetch("private2");
  assert.equal(wrong.status, 254);
  assert.match(wrong.stderr, /does not take the password of user "me" \(401\)/);
});

test("an index: this machine's platform, another one, and one that is not there", async (t) => {
  const rkt = setup(t);
  if (rkt === undefined) return;
  const registry = await startRegistry(t);
  const { dir: amd } = layout(rkt, "amd");
  const arm = ociImage([[file("arm", "arm")]], { over: { architecture: "arm64" } });
  const both = join(rkt.scratch, "both");
  writeLayout(both, arm);
  for (const path of [amd]) copyBlobs(path, both);
  const entries = [amd, both].map((path) => JSON.parse(readFileSync(join(path, "index.json"), "utf8")).manifests[0]);
  const list = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [
      { ...entries[0], annotations: undefined, platform: { os: "linux", architecture: "amd64" } },
      { ...entries[1], annotations: undefined, platform: { os: "linux", architecture: "arm64", variant: "v8" } },
    ],
  };
  const bytes = Buffer.from(JSON.stringify(list));
  writeFileSync(join(both, "blobs", sha256(bytes).replace(":", "/")), bytes);
  const top = { mediaType: list.mediaType, digest: sha256(bytes), size: bytes.length, annotations: { "org.opencontainers.image.ref.name": "all" } };
  writeFileSync(join(both, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [top] }));
  assert.equal(registry.push(`oci:${both}:all`, "app:1", ["--all"]), sha256(bytes));

  const image = `docker://${registry.host}/app:1`;
  const one = rkt.ok([ANY, "fetch", image]).stdout;
  const other = rkt.ok([ANY, "fetch", "--platform=linux/arm64", image]).stdout;
  assert.notEqual(other, one);
  assert.equal(rkt.ok([ANY, "fetch", image]).stdout, one);
  assert.equal(rkt.ok([ANY, "run", image]).stdout.trim(), "amd");
  rkt.fails([ANY, "run", "--platform=linux/arm64", image], 254, /is made for linux\/aarch64/);
  rkt.fails([ANY, "fetch", "--platform=linux/s390x", image], 254, /is not for linux\/s390x\nhint: it is for linux\/amd64, linux\/arm64\/v8$/m);
  rkt.fails(["fetch", "--platform=s390x", image], 2, /must be OS\/ARCHITECTURE/);
  // The digest of the index is one that a person may type, too.
  rkt.ok(["--insecure-options=http", "fetch", `docker://${registry.host}/app@${sha256(bytes)}`]);
});

function copyBlobs(from: string, to: string): void {
  for (const { digest } of blobsOf(from)) {
    const path = digest.replace(":", "/");
    writeFileSync(join(to, "blobs", path), readFileSync(join(from, "blobs", path)));
  }
}

function blobsOf(path: string): { digest: string }[] {
  const [entry] = JSON.parse(readFileSync(join(path, "index.json"), "utf8")).manifests;
  const { config, layers } = JSON.parse(readFileSync(join(path, "blobs", entry.digest.replace(":", "/")), "utf8"));
  return [entry, config, ...layers];
}

test("what is not there, and what can't be", async (t) => {
  const rkt = setup(t);
  if (rkt === undefined) return;
  const registry = await startRegistry(t);
  const { dir: from } = layout(rkt, "app");
  for (const tag of ["1.24", "1.25", "latest"]) registry.push(`oci:${from}:latest`, `app:${tag}`);
  const at = (rest: string) => `docker://${registry.host}/${rest}`;
  rkt.fails([ANY, "fetch", at("app:1.2")], 254, /\/app has no tag 1\.2\nhint: it has 1\.24, 1\.25, latest$/m);
  rkt.fails([ANY, "fetch", at("none:1")], 254, /has no repository none\n/);
  rkt.fails([ANY, "run", "--pull-policy=never", at("app:1.24")], 254, /is not in the store\nhint: --pull-policy=new fetches it/);
  rkt.fails(["--insecure-options=image", "fetch", at("app:1.24")], 254, /TLS: |connection/);
  rkt.fails(["fetch", "docker://App"], 2, /repositories are lower-case: app/);
  rkt.fails([ANY, "fetch", "--signature=x", at("app:1.24")], 2, /no use|is for App Container images/);
  assert.equal(rkt.ok(["image", "list", "--no-legend"]).stdout, "");
});
