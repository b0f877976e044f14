/** A fetch with real signatures, from the server to the store: what is not verified is never in it. */

import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import { keystoreLayout } from "../../shared/contract/configuration.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { gzipped, makeAci, manifest } from "../../test/fixtures/aci.ts";
import { makeGpg } from "../../test/fixtures/gpg.ts";
import { answerFile, serve } from "../../test/helpers/http-server.ts";
import { openStore } from "../store/store.ts";
import { fetchImage } from "./fetch.ts";
import { openHttp } from "./http.ts";
import { parseImageReference } from "./sources.ts";
import { openReporter } from "../terminal/progress.ts";
import { signatureChecker } from "../trust/verify.ts";

const gpg = makeGpg();
const key = gpg.newKey("builder");
const stranger = gpg.newKey("stranger");
const aci = gzipped(makeAci([], manifest({ name: "example.com/app" })));
const signature = gpg.sign(aci, [key]);

/** A store, and a keystore that has the builder's key for a prefix. */
function setup(t: TestContext, prefix: string) {
  const dir = mkdtempSync(join(tmpdir(), "rkt-verify-fetch-"));
  const trusted = keystoreLayout(join(dir, "local")).prefix(prefix);
  mkdirSync(trusted, { recursive: true });
  writeFileSync(join(trusted, key), gpg.export(key));
  const data = join(dir, "data");
  const store = openStore(data);
  const http = openHttp({ env: {}, retry: { attempts: 1 } });
  t.after(async () => {
    store.close();
    await http.close();
    rmSync(dir, { recursive: true });
  });
  let said = "";
  const stream = {
    write: (text: string) => {
      said += text;
    },
  };
  const context = {
    store,
    http,
    insecure: new Set<never>(),
    pullPolicy: "update" as const,
    reporter: openReporter({ stream }),
    registries: () => Promise.reject(new Error("no registry is asked")),
    verifyKeyPair() {
      throw new Error("no registry is asked");
    },
    beginVerification: signatureChecker({ systemConfig: join(dir, "system"), localConfig: join(dir, "local") }),
  };
  return {
    dir,
    fetch: (image: string, file?: string) =>
      fetchImage({ image: parseImageReference(image), signature: file }, context),
    said: () => said,
    stored: () => store.list().map(({ name }) => name),
    temporary: () => (existsSync(dataLayout(data).tmp) ? readdirSync(dataLayout(data).tmp) : []),
  };
}

const files: { name: string; files: Record<string, Buffer>; prefix?: string; refused?: [code: string, why: RegExp] }[] =
  [
    { name: "signed", files: { "/x.aci": aci, "/x.aci.asc": signature } },
    { name: "signed, binary, where the seed looks", files: { "/x.aci": aci, "/x.sig": gpg.sign(aci, [key], []) } },
    {
      name: "signed before it was changed",
      files: {
        "/x.aci": gzipped(makeAci([], manifest({ name: "example.com/app", labels: [] }))),
        "/x.aci.asc": signature,
      },
      refused: ["signature-untrusted", /builder .* signed another file, or the image was changed$/],
    },
    {
      // The signature is over the file as downloaded: the same tar in another coat is another file.
      name: "compressed anew",
      files: { "/x.aci": makeAci([], manifest({ name: "example.com/app" })), "/x.aci.asc": signature },
      refused: ["signature-untrusted", /signed another file/],
    },
    {
      name: "signed by a stranger",
      files: { "/x.aci": aci, "/x.aci.asc": gpg.sign(aci, [stranger]) },
      refused: ["signature-untrusted", /is not trusted$/],
    },
    {
      name: "signed by a key for other images",
      files: { "/x.aci": aci, "/x.aci.asc": signature },
      prefix: "example.com/ap",
      refused: ["signature-untrusted", /is trusted for example\.com\/ap only$/],
    },
    {
      name: "with something that is no signature",
      files: { "/x.aci": aci, "/x.aci.asc": Buffer.from("sorry") },
      refused: ["signature-malformed", /no OpenPGP signature/],
    },
    { name: "not signed", files: { "/x.aci": aci }, refused: ["no-signature", /^the image is not signed: /] },
  ];

for (const { name, files: served, prefix = "example.com/app", refused } of files)
  test(`an image by URL, ${name}`, async (t) => {
    const server = await serve(t, (request, response) => {
      const body = served[request.url ?? ""];
      if (body === undefined) response.writeHead(404).end();
      else answerFile(request, response, { body });
    });
    const { fetch, said, stored, temporary } = setup(t, prefix);
    const fetched = fetch(`${server.base}/x.aci`);
    if (refused === undefined) {
      await fetched;
      assert.match(said(), /^rkt: signature verified:\n {2}builder <builder@example\.com>\n/m);
      assert.deepEqual(stored(), ["example.com/app"]);
    } else {
      const [code, message] = refused;
      await assert.rejects(fetched, { code, message });
      assert.doesNotMatch(said(), /verified/);
      assert.deepEqual(stored(), []);
    }
    assert.deepEqual(temporary(), []);
  });

test("a local image with a signature beside it, or a named one, must be what was signed", async (t) => {
  const { dir, fetch, said, stored, temporary } = setup(t, "example.com/app");
  const [image, other] = [join(dir, "x.aci"), join(dir, "other.asc")];
  writeFileSync(image, aci);
  writeFileSync(other, gpg.sign("another", [key]));
  const refused = (error: unknown) => {
    assert.ok(error instanceof RktError && error.code === "signature-untrusted", String(error));
    return true;
  };
  await assert.rejects(fetch(image, other), refused);
  writeFileSync(`${image}.asc`, gpg.sign(aci, [stranger]));
  await assert.rejects(fetch(image), refused);
  assert.deepEqual([stored(), temporary()], [[], []]);
  writeFileSync(`${image}.asc`, signature);
  await fetch(image);
  assert.match(said(), /signature verified:\n {2}builder </);
  assert.deepEqual([stored(), temporary()], [["example.com/app"], []]);
});

test("a deferred signature: the server has it only after the image", async (t) => {
  let asked = 0;
  const server = await serve(t, (request, response) => {
    if (request.url === "/x.aci") return void response.end(aci);
    asked++;
    if (asked === 1) response.writeHead(202).end();
    else response.end(signature);
  });
  const { fetch, stored } = setup(t, "example.com");
  await fetch(`${server.base}/x.aci`);
  assert.deepEqual(stored(), ["example.com/app"]);
  assert.deepEqual(server.seen.map(({ url }) => url).sort(), ["/x.aci", "/x.aci.asc", "/x.aci.asc"]);
});
