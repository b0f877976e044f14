import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { makeCa, serve } from "../../test/helpers/http-server.ts";
import {
  discoverEndpoints,
  discoverKeys,
  formatAttempts,
  type MetaTag,
  parseMetaTags,
  renderTemplate,
} from "./discovery.ts";
import { openHttp } from "./http.ts";
import { parseImageName } from "../store/image-name.ts";

const tag = (prefix: string, content: string): MetaTag => ({ tag: "ac-discovery", prefix, content });
const one = [tag("a.b", "https://s/{name}.{ext}")];
const meta = '<meta name="ac-discovery" content="a.b https://s/{name}.{ext}">';

const pages: { name: string; html: string; want: MetaTag[] }[] = [
  {
    name: "a whole document",
    html: `<!DOCTYPE html><html><head><title>x</title>${meta}</head><body></body></html>`,
    want: one,
  },
  { name: "nothing but the tag", html: meta, want: one },
  { name: "in the body, after unclosed elements", html: `<p><div><b>x<p>${meta}`, want: one },
  {
    name: "XHTML, other quotes and case",
    html: `<META CONTENT='a.b https://s/{name}.{ext}' NAME='ac-discovery' />`,
    want: one,
  },
  { name: "no quotes", html: `<meta name=ac-discovery content="a.b https://s/{name}.{ext}">`, want: one },
  { name: "other attributes, one twice", html: meta.replace("name=", "id=x data-y name="), want: one },
  { name: "white space in the content", html: meta.replace("a.b ", "\n  a.b\t \n"), want: one },
  { name: "entities", html: meta.replace("https://", "https:&#x2f;&#47;"), want: one },
  {
    name: "an ampersand that is no entity",
    html: meta.replace("{ext}", "{ext}?a=1&b=2"),
    want: [tag("a.b", "https://s/{name}.{ext}?a=1&b=2")],
  },
  {
    name: "a byte order mark and broken markup",
    html: `\ufeff<<!!-><a href="${"x".repeat(1000)}<>\0</a></a>">${meta}`,
    want: one,
  },
  { name: "> in an attribute before it", html: `<img alt="a > b">${meta}`, want: one },
  {
    name: "several, in their order",
    html: `${meta}<meta name="ac-discovery-pubkeys" content="a.b https://k">`,
    want: [...one, { tag: "ac-discovery-pubkeys", prefix: "a.b", content: "https://k" }],
  },
  { name: "in a comment", html: `<!-- ${meta} -->`, want: [] },
  { name: "in a script", html: `<script>document.write('${meta}')</script>`, want: [] },
  {
    name: "in a style, a title, a textarea",
    html: `<style>${meta}</style><title>${meta}</title><textarea>${meta}</textarea>`,
    want: [],
  },
  { name: "in an attribute", html: `<div title='${meta}'>`, want: [] },
  { name: "cut in the middle", html: meta.slice(0, -10), want: [] },
  { name: "without a template", html: '<meta name="ac-discovery" content="a.b">', want: [] },
  { name: "with three words", html: '<meta name="ac-discovery" content="a.b https://s/ {name}">', want: [] },
  {
    name: "other tags",
    html: '<meta name="go-import" content="a.b git https://s"><meta charset=utf-8><meta>',
    want: [],
  },
  { name: "no HTML", html: '{"meta": "ac-discovery"}', want: [] },
  { name: "nothing", html: "", want: [] },
];

for (const c of pages) test(`tags: ${c.name}`, async () => assert.deepEqual(await parseMetaTags(c.html), c.want));

test("templates that are long or almost templates, and very many of them", async (t) => {
  assert.equal(renderTemplate(`{ext}${"{".repeat(2 ** 20)}`, new Map([["ext", "aci"]])), `aci${"{".repeat(2 ** 20)}`);
  const server = await serve(t, (request, response) => {
    const tag = (content: string) => `<meta name="ac-discovery" content="127.0.0.1 ${content}">`;
    const many = Array.from({ length: 1000 }, (_, i) => tag(`http://127.0.0.1/${i}.{ext}`));
    response.end(request.url?.startsWith("/long") === true ? tag(`{ext}${"a".repeat(2 ** 19)}`) : many.join(""));
  });
  const http = openHttp({ env: {}, plainHttp: true });
  t.after(() => http.close());
  const options = { port: server.port };
  const many = await discoverEndpoints(http, { name: "127.0.0.1/many", labels: [] }, options);
  assert.equal(many.found.length, 16);
  const { attempts } = await discoverEndpoints(http, { name: "127.0.0.1/long", labels: [] }, options);
  assert.match(formatAttempts(attempts), /\/long\?ac-discovery=1: a template has more than 4096 characters/);
  assert.ok(formatAttempts(attempts).length < 2000);
});

test("a page of a million open elements is read in reasonable time", async () => {
  const started = performance.now();
  assert.deepEqual(await parseMetaTags("<b><i ".repeat(100_000) + "><!--".repeat(100_000)), []);
  assert.ok(performance.now() - started < 10_000);
});

const values = new Map([
  ["name", "a.b/c"],
  ["version", "1.0"],
  ["odd", "x?y#z %41\u{1f600}/{name}"],
  ["ext", "aci"],
]);
const templates: [template: string, want: string | undefined][] = [
  ["https://s/{name}-{version}.{ext}", "https://s/a.b/c-1.0.aci"],
  ["https://s/{name}/{name}", "https://s/a.b/c/a.b/c"],
  ["https://s/{odd}", "https://s/x%3Fy%23z%20%2541%F0%9F%98%80/%7Bname%7D"],
  ["https://s/{os}", undefined],
  ["https://s/{}", undefined],
  ["https://s/plain", "https://s/plain"],
];
for (const [template, want] of templates) {
  test(`template ${template}`, () => assert.equal(renderTemplate(template, values), want));
}

/** A web server with discovery pages, and both programs' view of it. */
async function site(t: TestContext, pagesOf: Record<string, string | number>, options: { tls?: boolean } = {}) {
  const server = await serve(
    t,
    (request, response) => {
      const [path = "", query] = (request.url ?? "").split("?");
      const page = query === "ac-discovery=1" ? pagesOf[path] : undefined;
      if (typeof page === "string") response.setHeader("content-type", "text/html").end(page);
      else response.writeHead(page ?? 404).end(meta.replaceAll("a.b", "127.0.0.1"));
    },
    options.tls === true ? { tls: makeCa(t) } : {},
  );
  const http = openHttp({ env: {}, anyCertificate: true, plainHttp: true, retry: { attempts: 1 } });
  t.after(() => http.close());
  return { ...server, http };
}

const keys = (prefix: string, url: string) => `<meta name="ac-discovery-pubkeys" content="${prefix} ${url}">`;
const image = (prefix: string, url: string) => `<meta name="ac-discovery" content="${prefix} ${url}">`;
const store = "https://storage.example.com";
const full = `${store}/{name}-{version}-{os}-{arch}.{ext}`;
const short = `${store}/{name}-{version}.{ext}`;

const comparisons: {
  name: string;
  app: string;
  pages: Record<string, string | number>;
  images: string[];
  keys: string[];
  tls?: true;
}[] = [
  {
    name: "on the name's own page",
    app: "127.0.0.1/myapp:1.0.0,os=linux,arch=amd64",
    pages: { "/myapp": image("127.0.0.1", full) + keys("127.0.0.1", "https://example.com/pubkeys.gpg") },
    images: [`${store}/127.0.0.1/myapp-1.0.0-linux-amd64.aci`],
    keys: ["https://example.com/pubkeys.gpg"],
  },
  {
    name: "on the host's page, over https",
    app: "127.0.0.1/myapp/foobar:1.0.0",
    pages: { "/": image("127.0.0.1", full) + keys("127.0.0.1", "https://example.com/pubkeys.gpg") },
    images: [`${store}/127.0.0.1/myapp/foobar-1.0.0-linux-amd64.aci`],
    keys: ["https://example.com/pubkeys.gpg"],
    tls: true,
  },
  {
    name: "images and keys on different pages",
    app: "127.0.0.1/a/b",
    pages: { "/a/b": keys("127.0.0.1", "https://example.com/1"), "/a": image("127.0.0.1", short), "/": 500 },
    images: [`${store}/127.0.0.1/a/b-latest.aci`],
    keys: ["https://example.com/1"],
  },
  {
    name: "the nearest page wins",
    app: "127.0.0.1/a",
    pages: {
      "/a": image("127.0.0.1", short) + keys("127.0.0.1", "https://near/"),
      "/": image("127.0.0.1", full) + keys("127.0.0.1", "https://far/"),
    },
    images: [`${store}/127.0.0.1/a-latest.aci`],
    keys: ["https://near/"],
  },
  {
    name: "several templates, one of a label that is not given",
    app: "127.0.0.1/a,channel=beta",
    pages: {
      "/a":
        image("127.0.0.1", full) +
        image("127.0.0.1", `${store}/{flavor}/{name}.{ext}`) +
        image("127.0.0.1", `${store}/{channel}/{name}.{ext}`) +
        keys("127.0.0.1", "https://k/") +
        keys("127.0.0.1/a", "https://l/"),
    },
    images: [`${store}/127.0.0.1/a-latest-linux-amd64.aci`, `${store}/beta/127.0.0.1/a.aci`],
    keys: ["https://k/", "https://l/"],
  },
  {
    name: "templates for other names, and part of a name as a prefix",
    app: "127.0.0.1/app",
    pages: {
      "/":
        image("127.0.0.1/other", full) +
        image("127.0.0.1/ap", short) +
        keys("127.0.0.2", "https://k/") +
        keys("127", "https://l/"),
    },
    images: [`${store}/127.0.0.1/app-latest.aci`],
    keys: ["https://l/"],
  },
  {
    name: "on a server error at the nearest page",
    app: "127.0.0.1/a",
    pages: { "/a": 500, "/": image("127.0.0.1", short) + keys("127.0.0.1", "https://k/") },
    images: [`${store}/127.0.0.1/a-latest.aci`],
    keys: ["https://k/"],
  },
];

for (const c of comparisons) {
  test(`discovery ${c.name}, as actool does it`, async (t) => {
    const { http, port } = await site(t, c.pages, { tls: c.tls === true });
    const asked = parseImageName(c.app);
    const endpoints = await discoverEndpoints(http, asked, { port });
    const ours = {
      ACIEndpoints: endpoints.found.map((e) => ({ ACI: e.image.href, ASC: e.signature.href })),
      PublicKeys: (await discoverKeys(http, asked.name, { port })).found.map((url) => url.href),
    };
    assert.deepEqual(ours, {
      ACIEndpoints: c.images.map((url) => ({ ACI: url, ASC: `${url}.asc` })),
      PublicKeys: c.keys,
    });
    const run = promisify(execFile);
    const { stdout } = await run("actool", ["discover", "--insecure", "--json", `--port=${port}`, c.app]);
    assert.deepEqual(ours, JSON.parse(stdout.slice(stdout.indexOf("{"))));
  });
}

test("without templates: what was asked, and the URL made from the name", async (t) => {
  const { http, port, seen } = await site(t, { "/a": "<html>" });
  const { found, attempts } = await discoverEndpoints(http, parseImageName("127.0.0.1/a/b:1"), { port });
  assert.deepEqual(
    found.map((e) => [e.image.href, e.signature.href]),
    [[`https://127.0.0.1:${port}/a/b-1-linux-amd64.aci`, `https://127.0.0.1:${port}/a/b-1-linux-amd64.aci.asc`]],
  );
  const base = `http://127.0.0.1:${port}`;
  assert.equal(
    formatAttempts(attempts).replace(/TLS: [\w ]+/, "TLS: …"),
    [
      `https://127.0.0.1:${port}/a/b?ac-discovery=1: TLS: …`,
      `${base}/a/b?ac-discovery=1: 404 Not Found`,
      `${base}/a?ac-discovery=1: no discovery tags for this name`,
      `${base}/?ac-discovery=1: 404 Not Found`,
    ].join("; "),
  );
  assert.deepEqual(
    seen.map((s) => s.url),
    ["/a/b?ac-discovery=1", "/a?ac-discovery=1", "/?ac-discovery=1"],
  );
  assert.deepEqual((await discoverKeys(http, "127.0.0.1/a/b", { port })).found, []);
});

test("plain http needs its option and is announced; it is the last choice", async (t) => {
  const templates = image("127.0.0.1", "http://s/{name}.{ext}") + image("127.0.0.1", full);
  const plain = await site(t, { "/": templates + keys("127.0.0.1", "http://k/") });
  const said: string[] = [];
  const options = { port: plain.port, onPlainHttp: (url: string) => void said.push(url) };
  const { found } = await discoverEndpoints(plain.http, parseImageName("127.0.0.1"), options);
  assert.deepEqual(
    found.map((e) => e.image.protocol),
    ["https:", "http:"],
  );
  assert.deepEqual(said, [`http://127.0.0.1:${plain.port}/?ac-discovery=1`]);

  const secure = await site(t, { "/": templates + keys("127.0.0.1", "http://k/") }, { tls: true });
  const strict = openHttp({ env: {}, anyCertificate: true, retry: { attempts: 1 } });
  t.after(() => strict.close());
  const before = plain.seen.length;
  const none = await discoverEndpoints(strict, parseImageName("127.0.0.1"), { port: plain.port });
  assert.equal(plain.seen.length, before);
  assert.equal(none.attempts.length, 1);
  const some = await discoverEndpoints(strict, parseImageName("127.0.0.1"), { port: secure.port });
  assert.deepEqual(
    some.found.map((e) => e.image.protocol),
    ["https:"],
  );
  assert.match(
    formatAttempts(some.attempts),
    /http:\/\/s\/127\.0\.0\.1\.aci is plain http, which --insecure-options=http allows$/,
  );
  const noKeys = await discoverKeys(strict, "127.0.0.1", { port: secure.port });
  assert.deepEqual(noKeys.found, []);
  assert.match(formatAttempts(noKeys.attempts), /http:\/\/k\/ is plain http/);
});

const refused: [template: string, why: RegExp][] = [
  ["file:///etc/{name}.{ext}", /is a file: URL/],
  ["hdfs://s/{name}.{ext}", /is a hdfs: URL/],
  ["//s/{name}.{ext}", /is no URL/],
  ["https://s/{name}", /has no \{ext\}/],
  ["https://s/{name}-{flavor}.{ext}", /needs a label that was not given/],
];
for (const [template, why] of refused) {
  test(`template ${template} is passed over`, async (t) => {
    const { http, port } = await site(t, { "/": image("127.0.0.1", template) });
    const { attempts } = await discoverEndpoints(http, parseImageName("127.0.0.1"), { port });
    assert.match(formatAttempts(attempts), why);
  });
}

test("a redirect of the page is followed, and a long page is read as far as it matters", async (t) => {
  const long = `${image("127.0.0.1", short)}${"<p>x".repeat(1 << 19)}`;
  const target = await site(t, { "/moved": long });
  const first = await serve(t, (_, response) => {
    response.writeHead(302, { location: `${target.base}/moved?ac-discovery=1` }).end();
  });
  const { found } = await discoverEndpoints(target.http, parseImageName("127.0.0.1"), { port: first.port });
  assert.equal(found[0]?.image.href, `${store}/127.0.0.1-latest.aci`);
});

for (const name of ["999.1.1.1/foo", "1.2.3.4.5/a"])
  test(`a name that begins with no host's is refused by name: ${name}`, async (t) => {
    const http = openHttp({ env: {} });
    t.after(() => http.close());
    const refusal = { code: "no-host", message: new RegExp(`^nobody can be asked for ${name}: `) };
    await assert.rejects(discoverEndpoints(http, { name, labels: [] }), refusal);
    await assert.rejects(discoverKeys(http, name), refusal);
  });
