import assert from "node:assert/strict";
import { test } from "node:test";
import { acIdentifier } from "../../shared/schema/values.ts";
import { formatRegistryReference, imageNameOf, parseRegistryReference, tryReference } from "./reference.ts";

const D = `sha256:${"0123456789abcdef".repeat(4)}`;

const good: [text: string, whole: string, name: string][] = [
  ["docker://nginx", "docker://docker.io/library/nginx:latest", "docker.io/library/nginx"],
  ["DOCKER://nginx:1.25", "docker://docker.io/library/nginx:1.25", "docker.io/library/nginx"],
  ["docker://me/app", "docker://docker.io/me/app:latest", "docker.io/me/app"],
  ["docker://docker.io/nginx", "docker://docker.io/library/nginx:latest", "docker.io/library/nginx"],
  ["docker://index.docker.io/nginx", "docker://docker.io/library/nginx:latest", "docker.io/library/nginx"],
  ["docker://registry-1.docker.io/me/x", "docker://docker.io/me/x:latest", "docker.io/me/x"],
  ["docker://localhost/app", "docker://localhost/app:latest", "localhost/app"],
  ["docker://localhost:5000/app:v1", "docker://localhost:5000/app:v1", "localhost~5000/app"],
  ["docker://host:5000/a/b/c", "docker://host:5000/a/b/c:latest", "host~5000/a/b/c"],
  ["docker://Example.COM/app", "docker://example.com/app:latest", "example.com/app"],
  ["docker://[0::1]:5000/app", "docker://[::1]:5000/app:latest", "ip6~~~1~5000/app"],
  ["docker://[::1]:5000/app", "docker://[::1]:5000/app:latest", "ip6~~~1~5000/app"],
  ["docker://10.0.0.1/a__b/c.d-e--f_g", "docker://10.0.0.1/a__b/c.d-e--f_g:latest", "10.0.0.1/a__b/c.d-e--f_g"],
  [`docker://nginx@${D}`, `docker://docker.io/library/nginx@${D}`, "docker.io/library/nginx"],
  [`docker://nginx:1@${D}`, `docker://docker.io/library/nginx:1@${D}`, "docker.io/library/nginx"],
  [`docker://q.io/x:${"a".repeat(128)}`, `docker://q.io/x:${"a".repeat(128)}`, "q.io/x"],
];

for (const [text, whole, name] of good)
  test(`reference ${text.slice(0, 60)}`, () => {
    const reference = parseRegistryReference(text);
    assert.equal(formatRegistryReference(reference), whole);
    assert.deepEqual(parseRegistryReference(whole), reference, "the whole form means the same");
    assert.equal(imageNameOf(reference), name);
    assert.equal(acIdentifier(name), undefined, "it is an App Container name");
  });

const bad: [text: string, message: RegExp][] = [
  ["docker://", /there is no repository/],
  ["docker://host.com/", /there is no repository/],
  ["docker:///nginx", /"" can't be in a repository's name/],
  ["docker://Nginx", /"Nginx" can't be/],
  ["docker://Host/app", /"Host" can't be/],
  ["docker://me/App", /"App" can't be/],
  ["docker://a//b", /"" can't be/],
  ["docker://a/../b", /"\.\." can't be/],
  ["docker://a/./b", /"\." can't be/],
  ["docker://-a/b", /"-a" can't be/],
  ["docker://a_/b", /"a_" can't be/],
  ["docker://a___b", /"a___b" can't be/],
  ["docker://a..b/c", /"a\.\.b" is no host/],
  ["docker://a b", /"a b" can't be/],
  ["docker://nginx:", /"" is no tag/],
  ["docker://nginx:-x", /"-x" is no tag/],
  [`docker://nginx:${"a".repeat(129)}`, /is no tag/],
  ["docker://nginx@", /after the @ comes sha256/],
  ["docker://nginx@sha256:abc", /after the @ comes sha256/],
  [`docker://nginx@${D.toUpperCase()}`, /after the @ comes sha256/],
  [`docker://nginx@${D}@${D}`, /after the @ comes sha256/],
  ["docker://user:pass@host.com/x", /a user and password have no place/],
  ["docker://host:0/x", /"0" is no port/],
  ["docker://host:99999/x", /"99999" is no port/],
  ["docker://host:5000x/x", /"5000x" is no port/],
  ["docker://[::g]/x", /is no host/],
  ["docker://name.0/x", /is no host/],
  ["docker://0x7f.1/x", /is no host/],
  ["docker://127.1/x", /is no host/],
  ["docker://[]/x", /is no host/],
  ["docker://exa_mple.com/x", /is no host/],
  [`docker://${"a.".repeat(140)}com/x`, /is no host/],
  [`docker://${"a".repeat(300)}`, /longer than 255/],
  [`docker://${"a/".repeat(800)}a`, /longer than 1024/],
  [`docker://${D.slice(7)}`, /that is a digest/],
  ["docker://nginx\n", /can't be/],
  ["docker://nginx?x=1", /can't be/],
  ["docker://host.com/x#y", /can't be/],
];

for (const [text, message] of bad)
  test(`no reference: ${JSON.stringify(text.slice(0, 60))}`, () => {
    assert.throws(() => parseRegistryReference(text), { code: "usage", message });
    assert.equal(tryReference(text.replace(/^docker:\/\//, "")), undefined);
  });

test("a password is in no message", () => {
  assert.throws(() => parseRegistryReference("docker://me:secret@host.com/x"), (error: Error) => {
    assert.doesNotMatch(error.message, /secret/);
    return true;
  });
});
