import assert from "node:assert/strict";
import { test } from "node:test";
import { addLookasides, type Lookasides, lookasideFor, type Mapping, parseMappings } from "./registries-d.ts";

const FILE = `
# where signatures are
default-docker:
  lookaside-staging: file:///var/lib/containers/sigstore
docker:
    # the hub
    docker.io:
        sigstore: https://hub.example.com/sigstore/   # old word
    "docker.io/library":
        lookaside: 'file:///srv/library'
    localhost:5000/a:
        lookaside: http://127.0.0.1/s
        use-sigstore-attachments: true
    docker.io/library/nginx:1.25:
        lookaside: file:///srv/one
...
`;

function read(...texts: string[]): Lookasides {
  const found: Lookasides = { places: new Map(), default: undefined };
  texts.forEach((text, i) => void addLookasides(found, text, `/${i}.yaml`));
  return found;
}

const places: [name: string, tag: string | undefined, place: string][] = [
  ["docker.io/me/app", "1", "https://hub.example.com/sigstore/me/app"],
  ["docker.io/library/nginx", "1", "file:///srv/library/library/nginx"],
  ["docker.io/library/nginx", "1.25", "file:///srv/one/library/nginx"],
  ["localhost:5000/a/b", "1", "http://127.0.0.1/s/a/b"],
  ["localhost:5000/ab", "1", "file:///var/lib/containers/sigstore/ab"],
  ["quay.io/x", undefined, "file:///var/lib/containers/sigstore/x"],
];

for (const [name, tag, place] of places)
  test(`where the signatures of ${name}:${tag} are`, () => {
    const repository = name.slice(name.indexOf("/") + 1);
    assert.equal(lookasideFor(read(FILE), { name, repository, tag }).href, place);
  });

test("a default, in place of root's own directory", () => {
  const found = read("default-docker:\n  lookaside: https://example.com/x", "docker:\n  quay.io:\n    lookaside:\n");
  assert.equal(lookasideFor(found, { name: "quay.io/a", repository: "a", tag: undefined }).href, "https://example.com/x/a");
});

const bad: [name: string, texts: string[], message: RegExp][] = [
  ["another scheme", ["docker:\n  a.io:\n    lookaside: ftp://x/y"], /docker\.a\.io\.lookaside: must be a file:/],
  ["no URL", ["docker:\n  a.io:\n    lookaside: /srv"], /must be a file:/],
  ["a query", ["docker:\n  a.io:\n    lookaside: https://x/y?z=1"], /must be a file:/],
  ["text for a mapping", ["docker: x"], /docker: must be a mapping/],
  ["a scope in two files", Array(2).fill("docker:\n  a.io:\n    lookaside: file:///x"), /another file gives it/],
  ["two defaults", Array(2).fill("default-docker:\n  lookaside: file:///x"), /another file gives it/],
  ["a list", ["docker:\n  - a.io"], /line 2: rkt reads only/],
  ["a flow", ["docker: {a.io: x}"], /line 1: /],
  ["an anchor", ["docker: &x\n  a: b"], /line 1: /],
  ["a block text", ["docker: |\n  a"], /line 1: /],
  ["a tab", ["docker:\n\ta.io:"], /line 2: a tab/],
  ["twice", ["docker:\ndocker:"], /line 2: docker is given twice/],
  ["a crooked line", ["docker:\n    a.io:\n  b.io:"], /line 3: it is indented as no line/],
  ["depth", [Array.from({ length: 20 }, (_, i) => `${" ".repeat(i)}a:`).join("\n")], /nested too deep/],
];

for (const [name, texts, message] of bad)
  test(`refused: ${name}`, () => assert.throws(() => read(...texts), { code: "config-invalid", message }));

test("mappings", () => {
  const plain = (value: Mapping | string): unknown =>
    value instanceof Map ? Object.fromEntries([...value].map(([key, each]) => [key, plain(each)])) : value;
  assert.deepEqual(plain(parseMappings('a:\n  b: "c # d"\n  e: f#g # h\ni: \'j\'\n__proto__: k\n', "/x")), {
    a: { b: "c # d", e: "f#g" },
    i: "j",
    ["__proto__"]: "k",
  });
});
