import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { actoolAccepts as validate } from "../../test/helpers/actool.ts";
import { ManifestError } from "./manifest-error.ts";
import { formatPodManifest, parsePodManifest, parsePodTemplate } from "./pod-manifest.ts";
import type { PodManifest, PodTemplate } from "./types.ts";

const actoolAccepts = (text: string): boolean =>
  validate(text, /invalid PodManifest|error unmarshaling|panic: bad ACKind/);

function errorsOf(text: string): readonly string[] {
  try {
    parsePodManifest(text);
  } catch (error) {
    assert.ok(error instanceof ManifestError);
    assert.equal(error.message, error.errors[0]);
    return error.errors;
  }
  return [];
}

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

const id = `sha512-${"0123456789abcdef".repeat(8)}`;
const pod = (members: string): string =>
  `{"acKind":"PodManifest","acVersion":"0.8.11"${members === "" ? "" : `,${members}`}}`;
const app = (members: string): string =>
  pod(`"apps":[{"name":"a","image":{"id":"${id}"}${members === "" ? "" : `,${members}`}}]`);
const volume = (members: string): string => pod(`"volumes":[{"name":"a",${members}}]`);

const full: PodManifest = {
  acVersion: "0.8.11",
  acKind: "PodManifest",
  apps: [
    {
      name: "reduce-worker",
      image: { id, name: "example.com/reduce-worker", labels: [{ name: "version", value: "1.0.0" }] },
      app: {
        exec: ["/bin/reduce-worker", "--data-dir=/mnt/foo"],
        user: "0",
        group: "0",
        supplementaryGIDs: [],
        eventHandlers: [],
        environment: [],
        isolators: [{ name: "resource/memory", value: { limit: "1G" } }],
        mountPoints: [{ name: "work", path: "/var/lib/work", readOnly: false }],
        ports: [],
        userAnnotations: {},
        userLabels: {},
      },
      readOnlyRootFS: true,
      mounts: [
        { volume: "work", path: "/var/lib/work" },
        {
          volume: "own",
          path: "/own",
          appVolume: { name: "own", kind: "empty", mode: "1777", uid: 1, gid: 0 },
        },
      ],
      annotations: [{ name: "foo", value: "baz" }],
    },
    { name: "backup", image: { id, labels: [] }, readOnlyRootFS: false, mounts: [], annotations: [] },
  ],
  volumes: [
    { name: "work", kind: "host", source: "/opt/tenant1/work", readOnly: true, recursive: true },
    { name: "shared", kind: "empty" },
    { name: "flat", kind: "host", source: "/srv/../a b", readOnly: false, recursive: false },
  ],
  isolators: [
    { name: "os/unix/sysctl", value: { "net.ipv4.tcp_fin_timeout": "6" } },
    { name: "example.com/unknown", value: null },
  ],
  annotations: [{ name: "coreos.com/rocket/hostname", value: "box" }],
  ports: [
    { name: "ftp", hostPort: 2121 },
    {
      name: "http",
      hostPort: 80,
      hostIP: "127.0.0.1",
      podPort: { name: "http", protocol: "tcp", port: 8080, count: 1, socketActivated: false },
    },
  ],
  userAnnotations: { "any text": "1" },
  userLabels: { tier: "back" },
};

test("what is written is read again, and accepted by actool", () => {
  const text = formatPodManifest(full);
  assert.deepEqual(plain(parsePodManifest(text)), plain(full));
  assert.deepEqual(plain(parsePodManifest(Buffer.from(text))), plain(full));
  assert.equal(formatPodManifest(parsePodManifest(text)), text);
  assert.equal(actoolAccepts(text), true);
});

test("the written form is the spec's, in its order, without defaults", () => {
  assert.equal(
    formatPodManifest({ ...full, apps: full.apps.slice(0, 1) }),
    `{
  "acVersion": "0.8.11",
  "acKind": "PodManifest",
  "apps": [
    {
      "name": "reduce-worker",
      "image": {
        "name": "example.com/reduce-worker",
        "id": "${id}",
        "labels": [
          {
            "name": "version",
            "value": "1.0.0"
          }
        ]
      },
      "app": {
        "exec": [
          "/bin/reduce-worker",
          "--data-dir=/mnt/foo"
        ],
        "user": "0",
        "group": "0",
        "isolators": [
          {
            "name": "resource/memory",
            "value": {
              "limit": "1G"
            }
          }
        ],
        "mountPoints": [
          {
            "name": "work",
            "path": "/var/lib/work"
          }
        ]
      },
      "readOnlyRootFS": true,
      "mounts": [
        {
          "volume": "work",
          "path": "/var/lib/work"
        },
        {
          "volume": "own",
          "path": "/own",
          "appVolume": {
            "name": "own",
            "kind": "empty",
            "mode": "1777",
            "uid": 1,
            "gid": 0
          }
        }
      ],
      "annotations": [
        {
          "name": "foo",
          "value": "baz"
        }
      ]
    }
  ],
  "volumes": [
    {
      "name": "work",
      "kind": "host",
      "source": "/opt/tenant1/work",
      "readOnly": true,
      "recursive": true
    },
    {
      "name": "shared",
      "kind": "empty"
    },
    {
      "name": "flat",
      "kind": "host",
      "source": "/srv/../a b",
      "readOnly": false,
      "recursive": false
    }
  ],
  "isolators": [
    {
      "name": "os/unix/sysctl",
      "value": {
        "net.ipv4.tcp_fin_timeout": "6"
      }
    },
    {
      "name": "example.com/unknown",
      "value": null
    }
  ],
  "annotations": [
    {
      "name": "coreos.com/rocket/hostname",
      "value": "box"
    }
  ],
  "ports": [
    {
      "name": "ftp",
      "hostPort": 2121
    },
    {
      "name": "http",
      "hostPort": 80,
      "hostIP": "127.0.0.1",
      "podPort": {
        "name": "http",
        "port": 8080,
        "protocol": "tcp"
      }
    }
  ],
  "userAnnotations": {
    "any text": "1"
  },
  "userLabels": {
    "tier": "back"
  }
}
`,
  );
});

test("the smallest pod", () => {
  const text = formatPodManifest(parsePodManifest(pod("")));
  assert.equal(text, '{\n  "acVersion": "0.8.11",\n  "acKind": "PodManifest",\n  "apps": []\n}\n');
  assert.equal(actoolAccepts(text), true);
});

// [what actool says, the manifest, our problems]
const rules: [boolean, string, string[]][] = [
  [true, pod('"apps":null,"volumes":null,"isolators":null,"annotations":null,"ports":null'), []],
  [true, app(""), []],
  [true, app('"app":null,"mounts":null,"readOnlyRootFS":null'), []],
  [false, "{}", ["container manifest: acKind: is required", "container manifest: acVersion: is required"]],
  [
    false,
    '{"acKind":"ContainerRuntimeManifest","acVersion":"0.3.0"}',
    ['container manifest: acKind: must be "PodManifest", got "ContainerRuntimeManifest"'],
  ],
  [
    false,
    pod(`"apps":[{"name":"a","image":{"id":"${id}"}},{"name":"a","image":{"id":"${id}"}}]`),
    ['container manifest: apps[1].name: must be unique in its list, got "a" again'],
  ],
  [
    false,
    pod(`"apps":[{"name":"A","image":{"id":"${id}"}}]`),
    ['container manifest: apps[0].name: must be lower-case letters, digits and inner hyphens, got "A"'],
  ],
  [false, app('"app":{"exec":["/a"],"user":"0"}'), ["container manifest: apps[0].app.group: is required"]],
  [false, app('"readOnlyRootFS":1'), ["container manifest: apps[0].readOnlyRootFS: must be true or false, got 1"]],
  [
    false,
    app('"mounts":[{"volume":"a/b","path":"/a"}]'),
    ['container manifest: apps[0].mounts[0].volume: must be lower-case letters, digits and inner hyphens, got "a/b"'],
  ],
  [
    false,
    app('"annotations":[{"name":"a","value":""},{"name":"a","value":""}]'),
    ['container manifest: apps[0].annotations[1].name: must be unique in its list, got "a" again'],
  ],
  [
    false,
    pod('"apps":[{"name":"a","image":{"id":"sha512-"}}]'),
    ['container manifest: apps[0].image.id: must be "sha512-" and 32 to 128 lower-case hex digits, got "sha512-"'],
  ],

  [true, volume('"kind":"host","source":"/a/../b","readOnly":true,"recursive":false'), []],
  [true, volume('"kind":"empty","mode":"0777","uid":0,"gid":5,"source":""'), []],
  [false, volume('"kind":"tmpfs"'), ['container manifest: volumes[0].kind: must be "host" or "empty", got "tmpfs"']],
  [false, volume('"source":"/a"'), ["container manifest: volumes[0].kind: is required"]],
  [false, volume('"kind":"host"'), ["container manifest: volumes[0].source: is required"]],
  [false, volume('"kind":"host","source":"a"'), ['container manifest: volumes[0].source: must be absolute, got "a"']],
  [
    false,
    volume('"kind":"host","source":"/a","mode":"0755"'),
    ['container manifest: volumes[0].mode: must not be given for a volume of kind "host"'],
  ],
  [
    false,
    volume('"kind":"host","source":"/a","uid":0,"gid":0'),
    [
      'container manifest: volumes[0].uid: must not be given for a volume of kind "host"',
      'container manifest: volumes[0].gid: must not be given for a volume of kind "host"',
    ],
  ],
  [
    false,
    volume('"kind":"empty","source":"/a"'),
    ['container manifest: volumes[0].source: must not be given for a volume of kind "empty"'],
  ],
  [false, volume('"kind":"empty","mode":755'), ["container manifest: volumes[0].mode: must be a string, got 755"]],
  [
    false,
    pod('"volumes":[{"name":"a","kind":"empty"},{"name":"a","kind":"empty"}]'),
    ['container manifest: volumes[1].name: must be unique in its list, got "a" again'],
  ],
  [false, pod('"volumes":[{"kind":"empty"}]'), ["container manifest: volumes[0].name: is required"]],
  [
    false,
    pod('"ports":[{"name":"a","hostPort":"80"}]'),
    ['container manifest: ports[0].hostPort: must be an integer from 1 to 65535, got "80"'],
  ],
  [true, pod('"ports":[{"name":"a","hostPort":80,"hostIP":""}]'), []],
  [
    false,
    pod('"ports":[{"name":"a","hostPort":80,"hostIP":"localhost"}]'),
    ['container manifest: ports[0].hostIP: must be an IPv4 address, got "localhost"'],
  ],
  [
    false,
    pod('"ports":[{"name":"a","hostPort":80,"podPort":{"name":"a","port":0}}]'),
    ["container manifest: ports[0].podPort.port: must be an integer from 1 to 65535, got 0"],
  ],
  [true, pod('"isolators":[{"name":"a","value":{"b":[1]}}],"userLabels":{"":""}'), []],
  [false, pod('"userLabels":{"a":null,"b":{}}'), ["container manifest: userLabels.b: must be a string, got an object"]],
];
for (const [valid, text, errors] of rules) {
  test(`as actool: ${text.slice(0, 140)}`, () => {
    assert.deepEqual(errorsOf(text), errors);
    assert.equal(errors.length === 0, valid);
    assert.equal(actoolAccepts(text), valid);
  });
}

// What the spec's prose, or a hostile manifest's reader, asks for beyond the Go code.
const stricter: [string, string[]][] = [
  [pod('"apps":[{"name":"a"}]'), ["container manifest: apps[0].image: is required"]],
  [pod('"apps":[{"name":"a","image":{}}]'), ["container manifest: apps[0].image.id: is required"]],
  [pod(`"apps":[{"image":{"id":"${id}"}}]`), ["container manifest: apps[0].name: is required"]],
  [
    pod('"apps":[{"name":"a","image":{"id":"sha512-../../../etc"}}]'),
    [
      'container manifest: apps[0].image.id: must be "sha512-" and 32 to 128 lower-case hex digits, got "sha512-../../../etc"',
    ],
  ],
  [app('"mounts":[{"volume":"a"}]'), ["container manifest: apps[0].mounts[0].path: is required"]],
  [
    app('"mounts":[{"volume":"a","path":"/../../etc"}]'),
    ['container manifest: apps[0].mounts[0].path: must not have ".." components, got "/../../etc"'],
  ],
  [
    app('"mounts":[{"volume":"a","path":"tmp"}]'),
    ['container manifest: apps[0].mounts[0].path: must be absolute, got "tmp"'],
  ],
  [
    volume('"kind":"host","source":"/a\\nb"'),
    ['container manifest: volumes[0].source: must not contain control characters, got "/a\\nb"'],
  ],
  [
    volume('"kind":"empty","mode":"rwx","uid":-1'),
    [
      'container manifest: volumes[0].mode: must be an octal mode from "0" to "7777", got "rwx"',
      "container manifest: volumes[0].uid: must be an integer from 0 to 4294967294, got -1",
    ],
  ],
  [
    pod('"ports":[{"name":"a","hostPort":0}]'),
    ["container manifest: ports[0].hostPort: must be an integer from 1 to 65535, got 0"],
  ],
  [
    pod('"ports":[{"name":"a","hostPort":65536,"hostIP":"::1"}]'),
    [
      "container manifest: ports[0].hostPort: must be an integer from 1 to 65535, got 65536",
      'container manifest: ports[0].hostIP: must be an IPv4 address, got "::1"',
    ],
  ],
];
for (const [text, errors] of stricter) {
  test(`stricter than actool: ${text.slice(0, 140)}`, () => {
    assert.deepEqual(errorsOf(text), errors);
    assert.equal(actoolAccepts(text), true);
  });
}

test("an older pod: names with slashes, millicores", () => {
  const text = app(
    '"mounts":[{"volume":"volume-/var/tmp","path":"/var/tmp"}],"app":{"exec":["/a"],"user":"0","group":"0","isolators":[{"name":"resource/cpu","value":{"limit":"500"}}]}',
  );
  const { apps } = parsePodManifest(text.replace("0.8.11", "0.5.2"));
  assert.equal(apps[0]?.mounts[0]?.volume, "volume--var-tmp");
  assert.deepEqual(plain(apps[0]?.app?.isolators), [{ name: "resource/cpu", value: { limit: "500m" } }]);
});

test("the caller names the document", () => {
  assert.throws(() => parsePodManifest("[]", { object: "pod manifest" }), {
    code: "manifest-invalid",
    message: "pod manifest: must be an object, got a list",
  });
});

const EXAMPLES = "/usr/share/doc/appc-spec/examples";
const skip = existsSync(EXAMPLES) ? false : "the documentation of the package appc-spec is not installed";
test("the runtime example of appc-spec", { skip }, () => {
  const manifest = parsePodManifest(readFileSync(join(EXAMPLES, "pod_runtime.json")));
  assert.deepEqual(
    manifest.apps.map(({ name }) => name),
    ["reduce-worker", "backup", "register"],
  );
  assert.deepEqual(plain(manifest.volumes[1]), {
    name: "buildoutput",
    kind: "empty",
    mode: "0777",
    uid: 0,
    gid: 0,
  });
  assert.equal(actoolAccepts(formatPodManifest(manifest)), true);
});
test("the template of appc-spec names images without ID", { skip }, () => {
  const text = readFileSync(join(EXAMPLES, "pod_template.json"), "utf8");
  assert.deepEqual(errorsOf(text), [
    "container manifest: apps[1].image.id: is required",
    "container manifest: apps[2].image.id: is required",
  ]);
  assert.deepEqual(
    parsePodTemplate(text).apps.map(({ image }) => [image.id !== undefined, image.name]),
    [
      [true, "example.com/reduce-worker"],
      [false, "example.com/worker-backup"],
      [false, "example.com/reduce-worker-register"],
    ],
  );
});

const sha256 = `sha256-${"a".repeat(64)}`;
const head = (version: string, kind = "ContainerRuntimeManifest") => `"acVersion":"${version}","acKind":"${kind}"`;
const templates: { name: string; text: string; apps: object[]; volumes?: object[]; rest?: object }[] = [
  {
    name: "0.1.0: imageID, annotations an object, volumes that fulfil, isolators with val",
    text: `{${head("1.0.0")},"uuid":"6733C088-A507-4694-AABF-EDBE4FC5266F",
      "apps":[{"app":"example.com/worker","imageID":"${sha256}","isolators":[{"name":"memory/limit","val":"1G"}],
        "annotations":{"foo":"baz"}},{"name":"example.com/backup","imageID":"sha256-..."}],
      "volumes":[{"kind":"host","source":"/opt","readOnly":true,"fulfills":["work","more"]}],
      "isolators":[{"name":"private-network","val":"true"}],"annotations":{"ip-address":"10.1.2.3"}}`,
    apps: [
      {
        name: "worker",
        image: { id: sha256, name: "example.com/worker", labels: [] },
        isolators: [{ name: "resource/memory", value: { limit: "1Gi" } }],
        annotations: [{ name: "foo", value: "baz" }],
      },
      { name: "backup", image: { name: "example.com/backup", labels: [] } },
    ],
    volumes: [{ name: "work", kind: "host", source: "/opt", readOnly: true, fulfills: ["work", "more"] }],
    rest: {
      isolators: [{ name: "private-network", value: "true" }],
      annotations: [{ name: "ip-address", value: "10.1.2.3" }],
    },
  },
  {
    name: "0.3.0: names of volumes, mounts by mount points",
    text: `{${head("0.3.0")},"apps":[{"name":"example.com/w","imageID":"${id}",
      "mounts":[{"volume":"work","mountPoint":"database"}]}],"volumes":[{"name":"work","kind":"empty"}]}`,
    apps: [
      {
        name: "w",
        image: { id, name: "example.com/w", labels: [] },
        mounts: [{ volume: "work", mountPoint: "database" }],
      },
    ],
    volumes: [{ name: "work", kind: "empty", fulfills: [] }],
  },
  {
    name: "0.4.0: an image of its own, app is a section",
    text: `{${head("0.4.0")},"apps":[{"name":"w","image":{"id":"${id}","name":"example.com/w"},
      "app":{"exec":["/a"],"user":"0","group":"0"}}]}`,
    apps: [{ name: "w", image: { id, name: "example.com/w", labels: [] }, app: ["/a"] }],
  },
  {
    name: "0.5.0 and 0.6.0: a pod manifest, mounts by mount points",
    text: `{${head("0.6.1", "PodManifest")},"apps":[{"name":"w","image":{"id":"${id}"},
      "mounts":[{"volume":"v","mountPoint":"db"},{"volume":"v","path":"/x"}]}],"volumes":[{"name":"v","kind":"empty"}]}`,
    apps: [
      {
        name: "w",
        image: { id, labels: [] },
        mounts: [
          { volume: "v", mountPoint: "db" },
          { volume: "v", path: "/x" },
        ],
      },
    ],
    volumes: [{ name: "v", kind: "empty", fulfills: [] }],
  },
];
for (const { name, text, apps, volumes = [], rest = {} } of templates)
  test(`templates of ${name}`, () => {
    const manifest: PodTemplate = JSON.parse(JSON.stringify(parsePodTemplate(text)));
    const none = { isolators: [], annotations: [], mounts: [] };
    assert.deepEqual(
      manifest.apps.map(({ readOnlyRootFS: _, app, ...one }) => (app === undefined ? one : { ...one, app: app.exec })),
      apps.map((app) => ({ ...none, ...app })),
    );
    assert.deepEqual(manifest.volumes, volumes);
    const { isolators, annotations } = manifest;
    assert.deepEqual({ isolators, annotations }, { isolators: [], annotations: [], ...rest });
  });

const badTemplates: [text: string, errors: string[]][] = [
  [
    `{${head("0.8.11", "PodManifest")},"apps":[{"name":"w","image":{"id":"sha512-..."}}]}`,
    ["pod manifest: apps[0].image.name: is required where there is no id"],
  ],
  [`{${head("0.8.11", "PodManifest")},"apps":[{"name":"w"}]}`, ["pod manifest: apps[0].image: is required"]],
  [`{${head("0.3.0")},"apps":[{"imageID":"${id}"}]}`, ["pod manifest: apps[0].app: is required"]],
  [
    `{${head("0.8.11", "PodManifest")},"apps":[{"name":"w","image":{"id":"sha1-00"}}]}`,
    [
      'pod manifest: apps[0].image.id: must be "sha512-" and 32 to 128, or "sha256-" and 32 to 64, lower-case hex digits, got "sha1-00"',
    ],
  ],
];
for (const [text, errors] of badTemplates)
  test(`bad template: ${text}`, () => {
    assert.throws(
      () => parsePodTemplate(text),
      (error: ManifestError) => {
        assert.deepEqual(error.errors, errors);
        return true;
      },
    );
  });
