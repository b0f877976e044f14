/** Everything that reads what others wrote. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { UnitError, environment, execLine, writeUnit } from "systemd-unit-writer";
import { RktError } from "../../shared/errors.ts";
import { formatImageManifest, parseImageManifest } from "../../shared/schema/image-manifest.ts";
import { formatPodManifest, parsePodManifest } from "../../shared/schema/pod-manifest.ts";
import { parseEnvironmentFile } from "../../stage0/request/environment-options.ts";
import { capabilitiesIsolator, cpuIsolator, memoryIsolator, seccompIsolator } from "../../stage0/request/isolator-options.ts";
import { parseHostsEntries, parsePort } from "../../stage0/request/network-options.ts";
import { parseMount, parseVolume } from "../../stage0/request/volume-options.ts";
import { decompressor, detectCompression } from "../../stage0/archive/decompress.ts";
import { parseMetaTags } from "../../stage0/fetch/discovery.ts";
import { acIdentifier } from "../../shared/schema/values.ts";
import { parseRegistriesConf } from "../../stage0/config/registries-conf.ts";
import { parseMappings } from "../../stage0/config/registries-d.ts";
import { parseChallenges } from "../../stage0/fetch/registry-challenge.ts";
import { parseSignatureManifest } from "../../stage0/oci/cosign-manifest.ts";
import { parseOciDocument } from "../../stage0/oci/index.ts";
import {
  formatReference,
  formatRegistryReference,
  imageNameOf,
  parseRegistryReference,
  tryReference,
} from "../../stage0/oci/reference.ts";
import { parseClaim, SIMPLE_SIGNING } from "../../stage0/trust/signing-claim.ts";
import { Extractor } from "../../stage0/archive/extract.ts";
import { parseImageReference } from "../../stage0/fetch/sources.ts";
import { formatImageName, parseImageName } from "../../stage0/store/image-name.ts";
import type { TarEntry } from "../../stage0/archive/tar-entry.ts";
import { TarReader } from "../../stage0/archive/tar-reader.ts";
import { signatureChecker } from "../../stage0/trust/verify.ts";
import { keystoreLayout } from "../../shared/contract/configuration.ts";
import { scanWords } from "../../stage0/cli/words.ts";
import { globalOptions } from "../../stage0/cli/globals.ts";
import { runOptions } from "../../stage0/request/run-options.ts";
import { parseNetworkConf } from "../../stage1/network/network-conf.ts";
import { parseTrees } from "../../shared/contract/trees.ts";
import { networkRequest } from "../../shared/network-request.ts";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { makeGpg } from "../fixtures/gpg.ts";
import { fuzz } from "./fuzz.ts";

// --- manifests ------------------------------------------------------------------------

const imageManifests = [
  manifest(),
  manifest({
    dependencies: [{ imageName: "example.com/base", imageID: `sha512-${"0".repeat(128)}`, labels: [], size: 10 }],
    pathWhitelist: ["/etc/x"],
    annotations: [{ name: "created", value: "2014-10-27T19:32:27.67021798Z" }],
    app: {
      exec: ["/bin/x", "%i $HOME"],
      user: "www",
      group: "/etc/passwd",
      supplementaryGIDs: [10],
      eventHandlers: [{ name: "pre-start", exec: ["/bin/y"] }],
      workingDirectory: "/srv",
      environment: [{ name: "A", value: "b" }],
      mountPoints: [{ name: "data", path: "/data", readOnly: true }],
      ports: [{ name: "web", protocol: "tcp", port: 80, count: 2, socketActivated: true }],
      isolators: [
        { name: "resource/memory", value: { limit: "1G" } },
        { name: "os/linux/capabilities-retain-set", value: { set: ["CAP_KILL"] } },
      ],
    },
  }),
  '{"acKind":"ImageManifest","acVersion":"0.1.1","name":"example.com/old","os":"linux","arch":"amd64","app":{"exec":"/x","user":"0","group":"0","isolators":[{"name":"memory/limit","val":"1G"}],"environment":{"A":"b"}}}',
];
const keys = [
  '"__proto__":{}',
  '"constructor":1',
  "null",
  "[]",
  "{}",
  "[[[[",
  '"name"',
  '"acVersion":"0.5.1"',
  "\\u0000",
  "\ufeff",
];

fuzz({
  name: "image-manifest",
  seeds: imageManifests,
  dictionary: keys,
  run(input) {
    const written = formatImageManifest(parseImageManifest(input));
    assert.equal(formatImageManifest(parseImageManifest(written)), written, "what is written reads the same");
  },
});

fuzz({
  name: "pod-manifest",
  seeds: [
    JSON.stringify({
      acVersion: "0.8.11",
      acKind: "PodManifest",
      apps: [
        {
          name: "one",
          image: { id: `sha512-${"a".repeat(128)}`, name: "example.com/one", labels: [{ name: "os", value: "linux" }] },
          app: { exec: ["/x"], user: "0", group: "0" },
          mounts: [{ volume: "data", path: "/data" }],
          readOnlyRootFS: true,
        },
      ],
      volumes: [{ name: "data", kind: "empty", mode: "0755", uid: 0, gid: 0 }],
      ports: [{ name: "web", hostPort: 80 }],
      annotations: [{ name: "coreos.com/rocket/network", value: "default:IP=10.1.2.3,other" }],
      userAnnotations: { a: "b" },
    }),
  ],
  dictionary: [...keys, '"host"', '"source":"/"', '"recursive":true'],
  run(input) {
    const parsed = parsePodManifest(input);
    const written = formatPodManifest(parsed);
    assert.equal(formatPodManifest(parsePodManifest(written)), written, "what is written reads the same");
    networkRequest(parsed);
  },
});

// --- archives -------------------------------------------------------------------------

const entries: Entry[] = [
  { name: "rootfs/a", data: "hello", mode: 0o4755, uid: 1, pax: { mtime: "1.5", "SCHILY.xattr.user.x": "y" } },
  { name: "rootfs/d", type: "5" },
  { name: "rootfs/d/l", type: "2", link: "../../../x" },
  { name: "rootfs/d/h", type: "1", link: "rootfs/a" },
  { name: "././@LongLink", type: "L", data: `rootfs/${"n".repeat(120)}\0` },
  { name: "rootfs/n", data: "x" },
  { name: "rootfs/c", type: "3", device: [1, 3] },
];
const sparse: Entry = {
  name: "rootfs/GNUSparseFile.0/s",
  data: "1\n512\n5\n".padEnd(512, "\0") + "hello",
  pax: {
    "GNU.sparse.major": "1",
    "GNU.sparse.minor": "0",
    "GNU.sparse.name": "rootfs/s",
    "GNU.sparse.realsize": "4096",
  },
};
const archives = [makeAci(entries), makeAci([sparse])];
const tarWords = [
  "rootfs/",
  "../",
  "/",
  "\0",
  "0",
  "2",
  "x",
  "g",
  "L",
  "K",
  "S",
  "18 path=../../../x\n",
  "00000000777\0",
];

/** Mends the checksums, else a mutated archive is refused for those alone. */
function mended(archive: Buffer): Buffer {
  for (let at = 0; at + 512 <= archive.length; at += 512) {
    const block = archive.subarray(at, at + 512);
    if (block.toString("latin1", 257, 262) !== "ustar") continue;
    block.fill(" ", 148, 156);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  }
  return archive;
}

/** What a reader says of an archive that comes in pieces of these sizes. */
function read(archive: Buffer, piece: () => number): string {
  const seen: unknown[] = [];
  const reader = new TarReader((entry: TarEntry) => {
    seen.push([entry.path, entry.type, entry.size, entry.mode, entry.uid]);
    return { data: (chunk) => seen.push(chunk.length > 0), end: () => seen.push("end") };
  });
  try {
    for (let at = 0; at < archive.length; ) {
      const size = piece();
      reader.write(archive.subarray(at, at + size));
      at += size;
    }
    reader.end();
  } catch (error) {
    if (!(error instanceof RktError)) throw error;
    seen.push(error.message);
  }
  // How often data came depends on the pieces.
  return JSON.stringify(seen.filter((one, i) => one !== true || seen[i - 1] !== true));
}

fuzz({
  name: "tar-reader",
  seeds: archives,
  dictionary: tarWords,
  run(input, random) {
    const archive = mended(input);
    assert.equal(
      read(archive, () => 1 + random(700)),
      read(archive, () => archive.length),
      "pieces make no difference",
    );
  },
});

{
  let base = "";
  let untouched = "";
  const outside = () =>
    execFileSync("find", [base, "-path", `${base}/in`, "-prune", "-o", "-printf", "%p %y %#m %U %C@ %l\\n"]);
  fuzz({
    name: "extract",
    seeds: archives,
    dictionary: tarWords,
    prepare(t) {
      base = mkdtempSync(join(tmpdir(), "rkt-fuzz-"));
      writeFileSync(join(base, "x"), "untouched");
      untouched = "";
      t.after(() => {
        assert.equal(
          outside()
            .toString()
            .replace(/^.* d .*\n/gm, ""),
          untouched,
          "nothing outside has changed",
        );
        rmSync(base, { recursive: true, force: true });
      });
      untouched = outside()
        .toString()
        .replace(/^.* d .*\n/gm, "");
    },
    run(input) {
      const root = join(base, "in");
      mkdirSync(root);
      const extractor = new Extractor(root);
      try {
        const reader = new TarReader((entry) =>
          entry.path.startsWith("rootfs/") ? extractor.entry(entry, entry.path.slice("rootfs/".length)) : undefined,
        );
        reader.write(mended(input));
        reader.end();
        extractor.finish();
      } finally {
        extractor.close();
        rmSync(root, { recursive: true });
      }
      assert.deepEqual(readdirSync(base), ["x"]);
    },
  });
}

fuzz({
  name: "decompress",
  seeds: [gzipSync(makeAci()), zstdCompressSync(makeAci()), makeAci()],
  async run(input) {
    const stream = decompressor(detectCompression(input), () => {});
    try {
      await stream.write(input);
      await stream.end();
    } finally {
      stream.destroy();
    }
  },
});

// --- the network's texts ----------------------------------------------------------------

fuzz({
  name: "discovery",
  seeds: [
    '<!doctype html><html><head><meta name="ac-discovery" content="example.com https://x/{name}-{version}-{os}-{arch}.{ext}"><meta name="ac-discovery-pubkeys" content="example.com https://x/k"></head><body><p>',
    "<html><HEAD><META NAME=ac-discovery CONTENT='a b'/></HEAD>",
  ],
  dictionary: ["<meta ", "</head>", "<body>", "<!--", "-->", "<script>", "<![CDATA[", "&#x0;", "&amp;", "{", "}"],
  async run(input) {
    for (const { name, prefix, template } of (await parseMetaTags(input.toString("latin1"))) as unknown as Record<
      string,
      string
    >[])
      assert.ok([name, prefix, template].every((text) => text === undefined || typeof text === "string"));
  },
});

fuzz({
  name: "image-name",
  seeds: [
    "coreos.com/etcd:v2.0.0,os=linux,arch=amd64",
    "sha512-abcdef",
    "https://u:p@h/x.aci?y#z",
    "./x.aci",
    "file:///x",
  ],
  dictionary: [":", ",", "=", "//", "sha512-", "docker://", "%2e%2e", "@"],
  run(input) {
    const text = input.toString("latin1");
    parseImageReference(text);
    const name = parseImageName(text);
    assert.deepEqual(parseImageName(formatImageName(name)), name);
  },
});

{
  const gpg = makeGpg();
  const signer = gpg.newKey("Fuzz");
  const data = Buffer.from("the image");
  const armored = gpg.sign(data, [signer]);
  const binary = gpg.sign(data, [signer], []);
  let check: ReturnType<typeof signatureChecker>;
  fuzz({
    name: "signature",
    seeds: [armored, binary],
    dictionary: ["-----BEGIN PGP SIGNATURE-----\n", "-----END PGP SIGNATURE-----\n", "\n\n", "Comment: x\n", "=AAAA\n"],
    prepare(t) {
      const config = mkdtempSync(join(tmpdir(), "rkt-fuzz-keys-"));
      t.after(() => rmSync(config, { recursive: true }));
      const { root } = keystoreLayout(config);
      mkdirSync(root, { recursive: true });
      writeFileSync(join(root, signer), gpg.export(signer));
      check = signatureChecker({ localConfig: config, systemConfig: join(config, "none") });
    },
    async run(input, random) {
      // A damaged signature may still be one of this image; it is none of another.
      const one = check();
      one.update(random(2) === 0 ? Buffer.from("another image") : data.subarray(0, -1));
      await one.finish(input, "example.com/x");
      assert.fail("another image's signature was accepted");
    },
  });
}

// --- what a person or an administrator writes ----------------------------------------------

const words = [
  "=",
  ",",
  ":",
  "/",
  "kind=",
  "source=",
  "readOnly=true",
  "0",
  "-",
  "[::1]",
  "\n",
  "\0",
  "..",
  "%",
  "1e9",
];
const parsers: [name: string, seeds: string[], parse: (text: string) => unknown][] = [
  [
    "volume",
    ["data:/srv", "bind:/x", "data,kind=empty,mode=0755,uid=1,gid=2,readOnly=true,recursive=false"],
    parseVolume,
  ],
  ["mount", ["volume=data,target=/x"], parseMount],
  ["port", ["web:80", "web:127.0.0.1:8080", "80-tcp:[::1]:8080"], parsePort],
  ["environment-file", ["A=b\n# c\n\nC=d e\n"], (text) => parseEnvironmentFile("/f", text)],
  ["hosts-entry", ["10.0.0.1=a", "::1=b", "host"], (text) => parseHostsEntries([text])],
  ["memory", ["1G", "512Mi"], memoryIsolator],
  ["cpu", ["500m", "2"], cpuIsolator],
  ["capabilities", ["CAP_KILL,CAP_CHOWN"], (text) => capabilitiesIsolator("caps-retain", [text])],
  ["seccomp", ["mode=retain,errno=EPERM,@appc.io/all,kill"], seccompIsolator],
];
for (const [name, seeds, parse] of parsers)
  fuzz({ name, seeds, dictionary: words, run: (input) => void parse(input.toString("latin1")) });

fuzz({
  name: "trees",
  seeds: [
    '{"overlay":true,"privateUsers":true,"stage1":{"image":"sha512-ab","tree":"tree-2-ab"},"apps":{"a":{"image":"sha512-cd","tree":"tree-2-cd","dir":"sha512-cd-2"}}}',
  ],
  dictionary: ["__proto__", "..", "/", ".", "null", "true", "{}", "[]"],
  run(input) {
    const { stage1, apps } = parseTrees(input.toString("utf8"));
    // Each becomes one component of a path.
    const parts = [stage1, ...Object.values(apps)].flatMap((one) => Object.values(one));
    for (const part of parts) assert.match(part, /^[^./][^/]*$/);
  },
});

fuzz({
  name: "command-line",
  seeds: ["run --net=host x.aci --user=a -- -b --- y.aci", "-volume a:/b x", "--rm=false x -- ---"],
  dictionary: [" ", " -- ", " --- ", "--set-env=", "-", "--", "=", "--rm", "--exec "],
  run(input) {
    for (const grammar of ["plain", "images", "command"] as const)
      scanWords(input.toString("latin1").split(" "), { ...globalOptions, ...runOptions }, grammar);
  },
});

fuzz({
  name: "network-conf",
  seeds: [
    '{"cniVersion":"0.4.0","name":"net","type":"bridge","ipMasq":true,"ipam":{"type":"host-local","subnet":"10.1.0.0/16"}}',
    '{"cniVersion":"1.0.0","name":"list","plugins":[{"type":"bridge"},{"type":"portmap","capabilities":{"portMappings":true}}]}',
  ],
  dictionary: [...keys, '"type":"../x"', '"plugins":[]', '"name":"a/b"'],
  run: (input) => void parseNetworkConf(input, "/etc/net.conf"),
});

// --- units ----------------------------------------------------------------------------------

fuzz({
  name: "unit",
  seeds: ["/bin/x\0a b\0$HOME %i", "\\\0'\0\"\0;\0 x ", "ExecStart=/evil\n[Service]\nUser=root"],
  dictionary: ["\n", "\r", "\\", '"', "'", "%", "$", ";", "[Service]\n", "\u2028", "\0", "=", "#", " \\\n"],
  run(input) {
    const argv = input.toString("utf8").split("\0");
    let text: string;
    try {
      text = writeUnit([
        ["Unit", "Description", "fuzz"],
        ["Service", "ExecStart", execLine(["/bin/echo", ...argv])],
        ["Service", "Environment", environment([["A", argv[0] ?? ""]])],
      ]);
    } catch (error) {
      if (error instanceof UnitError) return;
      throw error;
    }
    assert.deepEqual(
      text.split("\n").map((line) => line.replace(/=.*/s, "=")),
      ["[Unit]", "Description=", "", "[Service]", "ExecStart=", "Environment=", ""],
      "a value stays in its line",
    );
  },
});

// --- images of registries -----------------------------------------------------------------

const DIGEST = `sha256:${"0123456789abcdef".repeat(4)}`;

fuzz({
  name: "registry-reference",
  seeds: ["nginx", "docker.io/library/nginx:1.25", `localhost:5000/a/b__c:tag@${DIGEST}`, "[::1]:5000/x", `quay.io/a.b/c-d@${DIGEST}`],
  dictionary: [":", "@", "/", "..", "//", "localhost", "docker.io", "index.docker.io/", DIGEST, "[", "]", "%2f", "user:pass@"],
  run(input) {
    const reference = parseRegistryReference(`docker://${input.toString("utf8")}`);
    const whole = formatRegistryReference(reference);
    assert.deepEqual(parseRegistryReference(whole), reference, "the whole form means the same");
    assert.deepEqual(tryReference(formatReference(reference)), reference);
    assert.equal(acIdentifier(imageNameOf(reference)), undefined, "it has an App Container name");
    const path = `/v2/${reference.repository}/manifests/${reference.digest ?? reference.tag}`;
    const url = new URL(`https://${reference.registry}${path}`);
    assert.equal(url.username + url.search + url.hash, "");
    assert.equal(url.pathname, path, "it stays in its repository");
  },
});

const descriptor = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: DIGEST, size: 7 };

fuzz({
  name: "oci-index",
  seeds: [
    {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [{ ...descriptor, platform: { os: "linux", architecture: "arm", variant: "v7" } }],
    },
    { schemaVersion: 2, manifests: [{ ...descriptor, annotations: { "org.opencontainers.image.ref.name": "x" } }] },
    { schemaVersion: 2, config: { ...descriptor, mediaType: "application/vnd.oci.image.config.v1+json" }, layers: [] },
    { schemaVersion: 1, fsLayers: [] },
    {
      layers: [
        {
          ...descriptor,
          mediaType: "application/vnd.dev.cosign.simplesigning.v1+json",
          annotations: { "dev.cosignproject.cosign/signature": "AAAA" },
        },
      ],
    },
    {
      critical: {
        identity: { "docker-reference": "x:1" },
        image: { "docker-manifest-digest": DIGEST },
        type: SIMPLE_SIGNING,
      },
    },
  ].map((value) => JSON.stringify(value)),
  dictionary: [...keys, '"mediaType"', '"manifests"', '"config"', '"layers"', '"platform"', DIGEST],
  run(input, random) {
    const readers = [
      () => parseOciDocument(input, [undefined, descriptor.mediaType, "text/plain"][random(3)], "image"),
      () => parseSignatureManifest(input, "signatures"),
      () => parseClaim(input, SIMPLE_SIGNING),
    ];
    readers[random(readers.length)]?.();
  },
});

fuzz({
  name: "registries-conf",
  seeds: [
    'unqualified-search-registries = ["docker.io"]\n[aliases]\n"a" = "b/c"\n[[registry]]\nprefix = "*.example.com"\nlocation = "m.example.com:5000/x"\ninsecure = true\n[[registry.mirror]]\nlocation = "[::1]"\npull-from-mirror = "digest-only"\n',
    "[registries.block]\nregistries = []\n",
    "a = { b = [1, 1.5, 1979-05-27T07:32:00Z, '''x''', { c = true }] }\n",
  ],
  dictionary: ["[[registry]]", "location", "prefix", "__proto__", "constructor", "''' ", '"""', "[[", "{", "[", "= nan"],
  run: (input) => void parseRegistriesConf(input.toString("utf8"), "file"),
});

fuzz({
  name: "registries-d",
  seeds: ["default-docker:\n  lookaside: file:///x\ndocker:\n  \"a.io/b\":\n    sigstore: 'https://x/y' # z\n"],
  dictionary: ["  ", "\t", ": ", "- ", "{", "&a", "*a", "---", "...", "'", '"'],
  run: (input) => void parseMappings(input.toString("utf8"), "file"),
});

fuzz({
  name: "challenge",
  seeds: ['Bearer realm="https://x/token",service="a",scope="repository:a:pull"', "Basic realm=x, Negotiate"],
  dictionary: ["Bearer", 'realm="', "\\", '"', ",", "=", " "],
  run(input) {
    for (const { scheme, parameters } of parseChallenges(input.toString("latin1"))) {
      assert.match(scheme, /^[^\s",=]+$/);
      for (const value of parameters.values()) assert.ok([...value].every((c) => c >= " "), "no control character");
    }
  },
});
