import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { actoolAccepts as validate } from "../../test/helpers/actool.ts";
import { RktError } from "../errors.ts";
import {
  annotation,
  appFromImage,
  bareApp,
  formatImageManifest,
  imageMatchesHost,
  label,
  parseImageManifest,
  requireHost,
} from "./image-manifest.ts";
import { ManifestError } from "./manifest-error.ts";

const actoolAccepts = (text: string): boolean =>
  validate(text, /invalid ImageManifest|error unmarshaling|panic: bad ACKind/);

function errorsOf(text: string): readonly string[] {
  try {
    parseImageManifest(text);
  } catch (error) {
    assert.ok(error instanceof ManifestError);
    assert.equal(error.message, error.errors[0]);
    return error.errors;
  }
  return [];
}

/** Without undefined members and null prototypes. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

const image = (members: string): string =>
  `{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app"${members === "" ? "" : `,${members}`}}`;
const app = (members: string): string =>
  image(`"app":{"exec":["/a"],"user":"0","group":"0"${members === "" ? "" : `,${members}`}}`);

// --- every version becomes the final form -----------------------------------------

const emptyApp = {
  supplementaryGIDs: [],
  eventHandlers: [],
  environment: [],
  isolators: [],
  mountPoints: [],
  ports: [],
  userAnnotations: {},
  userLabels: {},
};
const emptyImage = { acKind: "ImageManifest", labels: [], dependencies: [], pathWhitelist: [], annotations: [] };
const id = `sha512-${"0123456789abcdef".repeat(8)}`;

const versions: { name: string; text: string; read: object }[] = [
  {
    name: "0.1.0, an app manifest: the app's members stand at the top",
    text: `{
      "acVersion": "0.1.0", "acKind": "AppManifest", "name": "example.com/worker-1.0.0",
      "os": "linux", "arch": "amd64",
      "exec": ["/usr/bin/worker"], "user": "100", "group": "300",
      "eventHandlers": [{"name": "pre-start", "exec": ["/usr/bin/download"]}],
      "environment": {"DEBUG": "true", "EMPTY": ""},
      "mountPoints": [{"name": "database", "path": "/var/lib/db", "readOnly": false}],
      "ports": [{"name": "health", "protocol": "tcp", "port": 4000, "socketActivated": true}],
      "isolators": [
        {"name": "privateNetwork", "val": "true"},
        {"name": "cpu/shares/", "val": "20"},
        {"name": "memory/limit", "val": "1G"},
        {"name": "blockIO/readBandwidth", "val": "/tmp 1K"},
        {"name": "capabilities/boundingSet", "val": "CAP_NET_BIND_SERVICE CAP_SYS_ADMIN"}
      ],
      "annotations": {"created": "2014-10-27T19:32:27.67021798Z", "authors": "Carly <carly@example.com>"}
    }`,
    read: {
      ...emptyImage,
      acVersion: "0.1.0",
      name: "example.com/worker-1.0.0",
      labels: [
        { name: "os", value: "linux" },
        { name: "arch", value: "amd64" },
      ],
      app: {
        ...emptyApp,
        exec: ["/usr/bin/worker"],
        user: "100",
        group: "300",
        eventHandlers: [{ name: "pre-start", exec: ["/usr/bin/download"] }],
        environment: [
          { name: "DEBUG", value: "true" },
          { name: "EMPTY", value: "" },
        ],
        mountPoints: [{ name: "database", path: "/var/lib/db", readOnly: false }],
        ports: [{ name: "health", protocol: "tcp", port: 4000, count: 1, socketActivated: true }],
        isolators: [
          { name: "private-network", value: "true" },
          { name: "os/linux/cpu-shares", value: 20 },
          { name: "resource/memory", value: { limit: "1Gi" } },
          { name: "block-io/read-bandwidth", value: "/tmp 1K" },
          { name: "os/linux/capabilities-retain-set", value: { set: ["CAP_NET_BIND_SERVICE", "CAP_SYS_ADMIN"] } },
        ],
      },
      annotations: [
        { name: "created", value: "2014-10-27T19:32:27.67021798Z" },
        { name: "authors", value: "Carly <carly@example.com>" },
      ],
    },
  },
  {
    name: "1.0.0, as the builders of 0.1.0 wrote: a version member, accounts empty, lists null",
    text: `{"acVersion":"1.0.0","acKind":"AppManifest","name":"outyet","version":"1.0.0","os":"linux","arch":"amd64",
      "exec":["\\/go\\/bin\\/outyet"],"eventHandlers":null,"user":"","group":"","environment":null,"mountPoints":null,
      "ports":[{"name":"8080","protocol":"tcp","port":8080,"socketActivated":false}],"isolators":null,"annotations":null}`,
    read: {
      ...emptyImage,
      acVersion: "1.0.0",
      name: "outyet",
      labels: [
        { name: "version", value: "1.0.0" },
        { name: "os", value: "linux" },
        { name: "arch", value: "amd64" },
      ],
      app: {
        ...emptyApp,
        exec: ["/go/bin/outyet"],
        user: "0",
        group: "0",
        ports: [{ name: "8080", protocol: "tcp", port: 8080, count: 1, socketActivated: false }],
      },
    },
  },
  {
    name: "0.1.0, a fileset: no app, its files are the path whitelist",
    text: `{"acKind":"FilesetManifest","acVersion":"0.1.0","name":"ca-certs","os":"linux","arch":"amd64",
      "dependencies":[{"name":"example.com/base-1.0.0","hash":"${id}","root":"/"}],
      "files":["/certs/","/ca-bundle.crt","fileset"]}`,
    read: {
      ...emptyImage,
      acVersion: "0.1.0",
      name: "ca-certs",
      labels: [
        { name: "os", value: "linux" },
        { name: "arch", value: "amd64" },
      ],
      dependencies: [{ imageName: "example.com/base-1.0.0", imageID: id, labels: [] }],
      pathWhitelist: ["/certs/", "/ca-bundle.crt"],
    },
  },
  {
    name: "0.1.0, an app image manifest: only the kind differs",
    text: '{"acKind":"AppImageManifest","acVersion":"0.1.0","name":"a","labels":[{"name":"env","val":"x"}]}',
    read: { ...emptyImage, acVersion: "0.1.0", name: "a", labels: [{ name: "env", value: "x" }] },
  },
  {
    name: "0.1.1: val, annotations and environment as maps, dependencies by name and hash, no user",
    text: `{
      "acKind": "ImageManifest", "acVersion": "0.1.1", "name": "example.com/hello",
      "labels": [{"name": "version", "val": "1.0.0"}, {"name": "arch", "val": "amd64"}, {"name": "os", "val": "linux"}],
      "app": {"exec": ["/bin/hello"], "environment": {"A": "b"}, "ports": [{"name": "www", "protocol": "tcp", "port": 5000}]},
      "dependencies": [{"name": "example.com/base", "hash": "${id}", "root": "/", "labels": [{"name": "env", "val": "canary"}]}],
      "pathWhitelist": ["/bin/hello", "/etc/systemd/system/"],
      "annotations": {"authors": "Kelsey", "homepage": "https://example.com"}
    }`,
    read: {
      ...emptyImage,
      acVersion: "0.1.1",
      name: "example.com/hello",
      labels: [
        { name: "version", value: "1.0.0" },
        { name: "arch", value: "amd64" },
        { name: "os", value: "linux" },
      ],
      app: {
        ...emptyApp,
        exec: ["/bin/hello"],
        user: "0",
        group: "0",
        environment: [{ name: "A", value: "b" }],
        ports: [{ name: "www", protocol: "tcp", port: 5000, count: 1, socketActivated: false }],
      },
      dependencies: [{ imageName: "example.com/base", imageID: id, labels: [{ name: "env", value: "canary" }] }],
      pathWhitelist: ["/bin/hello", "/etc/systemd/system/"],
      annotations: [
        { name: "authors", value: "Kelsey" },
        { name: "homepage", value: "https://example.com" },
      ],
    },
  },
  {
    name: "0.2.0: value, annotations as a list, environment still a map, dependencies by app and imageID",
    text: `{
      "acKind": "ImageManifest", "acVersion": "0.2.0", "name": "example.com/worker",
      "labels": [{"name": "os", "value": "linux"}],
      "app": {
        "exec": ["/usr/bin/worker"], "user": "100", "group": "300", "workingDirectory": "/opt/work",
        "environment": {"DEBUG": "true"},
        "isolators": [{"name": "cpu/mask", "value": "0-3"}, {"name": "memory/limit", "value": "512M"}],
        "mountPoints": [{"name": "example.com/db", "path": "/var/lib/my db", "readOnly": true}]
      },
      "dependencies": [{"app": "example.com/base", "imageID": "${id}"}],
      "annotations": [{"name": "documentation", "value": "http://example.com/docs"}]
    }`,
    read: {
      ...emptyImage,
      acVersion: "0.2.0",
      name: "example.com/worker",
      labels: [{ name: "os", value: "linux" }],
      app: {
        ...emptyApp,
        exec: ["/usr/bin/worker"],
        user: "100",
        group: "300",
        workingDirectory: "/opt/work",
        environment: [{ name: "DEBUG", value: "true" }],
        isolators: [
          { name: "cpu/mask", value: "0-3" },
          { name: "resource/memory", value: { limit: "512Mi" } },
        ],
        mountPoints: [{ name: "example-com-db", path: "/var/lib/my db", readOnly: true }],
      },
      dependencies: [{ imageName: "example.com/base", imageID: id, labels: [] }],
      annotations: [{ name: "documentation", value: "http://example.com/docs" }],
    },
  },
  {
    name: "0.3.0: environment as a list",
    text: `{
      "acKind": "ImageManifest", "acVersion": "0.3.0", "name": "hello",
      "app": {"exec": ["/bin/hello", "--quiet"], "user": "0", "group": "0",
        "environment": [{"name": "DEBUG", "value": "true"}],
        "isolators": [{"name": "cpu/shares", "value": "20"}, {"name": "memory/limit", "value": "a lot"}]}
    }`,
    read: {
      ...emptyImage,
      acVersion: "0.3.0",
      name: "hello",
      app: {
        ...emptyApp,
        exec: ["/bin/hello", "--quiet"],
        user: "0",
        group: "0",
        environment: [{ name: "DEBUG", value: "true" }],
        isolators: [
          { name: "os/linux/cpu-shares", value: 20 },
          { name: "memory/limit", value: "a lot" },
        ],
      },
    },
  },
  {
    name: "0.4.1: isolators are objects, revoke-set, millicores, accounts that tools did not ask for",
    text: `{
      "acKind": "ImageManifest", "acVersion": "0.4.1", "name": "example.com/node",
      "app": {"exec": ["/usr/bin/node /server.js"],
        "isolators": [
          {"name": "resource/cpu", "value": {"request": "250", "limit": 500}},
          {"name": "os/linux/capabilities-revoke-set", "value": {"set": ["CAP_KILL"]}}
        ]}
    }`,
    read: {
      ...emptyImage,
      acVersion: "0.4.1",
      name: "example.com/node",
      app: {
        ...emptyApp,
        exec: ["/usr/bin/node /server.js"],
        user: "0",
        group: "0",
        isolators: [
          { name: "resource/cpu", value: { request: "250m", limit: "500m" } },
          { name: "os/linux/capabilities-remove-set", value: { set: ["CAP_KILL"] } },
        ],
      },
    },
  },
  {
    name: "0.5.2: names of mount points with slashes, port ranges",
    text: `{
      "acKind": "ImageManifest", "acVersion": "0.5.2", "name": "gcr.io/google.containers/etcd",
      "app": {"exec": ["/etcd"], "user": "0", "group": "0",
        "mountPoints": [{"name": "volume-/var/lib.d", "path": "/var/lib.d"}],
        "ports": [{"name": "ftp.data", "port": 20000, "count": 1000, "protocol": "tcp"}]},
      "dependencies": [{"app": "example.com/base"}]
    }`,
    read: {
      ...emptyImage,
      acVersion: "0.5.2",
      name: "gcr.io/google.containers/etcd",
      app: {
        ...emptyApp,
        exec: ["/etcd"],
        user: "0",
        group: "0",
        mountPoints: [{ name: "volume--var-lib-d", path: "/var/lib.d", readOnly: false }],
        ports: [{ name: "ftp-data", protocol: "tcp", port: 20_000, count: 1000, socketActivated: false }],
      },
      dependencies: [{ imageName: "example.com/base", labels: [] }],
    },
  },
  {
    name: "0.6.1: imageName, size; a cpu amount that has a unit keeps it",
    text: `{
      "acKind": "ImageManifest", "acVersion": "0.6.1", "name": "example.com/~user/app_v1",
      "app": {"exec": ["/a"], "user": "0", "group": "0", "isolators": [
        {"name": "resource/cpu", "value": {"limit": "1.5"}}, {"name": "resource/cpu", "value": {"limit": "2"}}]},
      "dependencies": [{"imageName": "example.com/base", "size": 22017258}]
    }`,
    read: {
      ...emptyImage,
      acVersion: "0.6.1",
      name: "example.com/~user/app_v1",
      app: {
        ...emptyApp,
        exec: ["/a"],
        user: "0",
        group: "0",
        isolators: [
          { name: "resource/cpu", value: { limit: "1.5" } },
          { name: "resource/cpu", value: { limit: "2m" } },
        ],
      },
      dependencies: [{ imageName: "example.com/base", labels: [], size: 22_017_258 }],
    },
  },
  {
    name: "0.7.0: supplementaryGroups; cores",
    text: `{
      "acKind": "ImageManifest", "acVersion": "0.7.0", "name": "a",
      "app": {"exec": ["/a"], "user": "0", "group": "0", "supplementaryGroups": [4, 500],
        "isolators": [{"name": "resource/cpu", "value": {"limit": "2"}}]}
    }`,
    read: {
      ...emptyImage,
      acVersion: "0.7.0",
      name: "a",
      app: {
        ...emptyApp,
        exec: ["/a"],
        user: "0",
        group: "0",
        supplementaryGIDs: [4, 500],
        isolators: [{ name: "resource/cpu", value: { limit: "2" } }],
      },
    },
  },
  {
    name: "0.7.4: exec empty, or a name to look for in PATH",
    text: `{"acKind": "ImageManifest", "acVersion": "0.7.4", "name": "a",
      "app": {"exec": [], "user": "www-data", "group": "/usr/bin/ping",
        "eventHandlers": [{"name": "post-stop", "exec": ["true"]}]}}`,
    read: {
      ...emptyImage,
      acVersion: "0.7.4",
      name: "a",
      app: {
        ...emptyApp,
        exec: [],
        user: "www-data",
        group: "/usr/bin/ping",
        eventHandlers: [{ name: "post-stop", exec: ["true"] }],
      },
    },
  },
  {
    name: "0.8.11: everything; the spec's example spells supplementaryGids",
    text: `{
      "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/worker",
      "labels": [{"name": "version", "value": "1.0.0"}, {"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}],
      "app": {
        "exec": ["worker", "line\\nline", ""], "user": "100", "group": "300", "supplementaryGids": [400],
        "eventHandlers": [{"exec": ["/a"], "name": "pre-start"}, {"exec": ["/b"], "name": "post-stop"}],
        "workingDirectory": "/opt/work",
        "environment": [{"name": "PS1", "value": "\\u001b[1m$ \\n"}],
        "isolators": [{"name": "os/linux/seccomp-remove-set", "value": {"errno": "EPERM", "set": ["reboot"]}}],
        "mountPoints": [{"name": "work", "path": "/var/lib/work", "readOnly": true}],
        "ports": [{"name": "health", "port": 4000, "protocol": "tcp", "socketActivated": true},
                  {"name": "ftp-data", "port": 65000, "count": 536, "protocol": "udp"}],
        "userAnnotations": {"any text": "1"}, "userLabels": {"__proto__": "x", "constructor": "y"}
      },
      "dependencies": [{"imageName": "example.com/base", "imageID": "${id}", "labels": [{"name": "env", "value": "canary"}], "size": 1}],
      "pathWhitelist": ["/etc/worker.conf"],
      "annotations": [{"name": "created", "value": "2014-10-27T19:32:27Z"}, {"name": "appc.io/executor/supports-systemd-notify", "value": "false"}]
    }`,
    read: {
      ...emptyImage,
      acVersion: "0.8.11",
      name: "example.com/worker",
      labels: [
        { name: "version", value: "1.0.0" },
        { name: "os", value: "linux" },
        { name: "arch", value: "amd64" },
      ],
      app: {
        exec: ["worker", "line\nline", ""],
        user: "100",
        group: "300",
        supplementaryGIDs: [400],
        eventHandlers: [
          { name: "pre-start", exec: ["/a"] },
          { name: "post-stop", exec: ["/b"] },
        ],
        workingDirectory: "/opt/work",
        environment: [{ name: "PS1", value: "\u001b[1m$ \n" }],
        isolators: [{ name: "os/linux/seccomp-remove-set", value: { errno: "EPERM", set: ["reboot"] } }],
        mountPoints: [{ name: "work", path: "/var/lib/work", readOnly: true }],
        ports: [
          { name: "health", protocol: "tcp", port: 4000, count: 1, socketActivated: true },
          { name: "ftp-data", protocol: "udp", port: 65_000, count: 536, socketActivated: false },
        ],
        userAnnotations: { "any text": "1" },
        userLabels: JSON.parse('{"__proto__":"x","constructor":"y"}'),
      },
      dependencies: [
        { imageName: "example.com/base", imageID: id, labels: [{ name: "env", value: "canary" }], size: 1 },
      ],
      pathWhitelist: ["/etc/worker.conf"],
      annotations: [
        { name: "created", value: "2014-10-27T19:32:27Z" },
        { name: "appc.io/executor/supports-systemd-notify", value: "false" },
      ],
    },
  },
];
for (const { name, text, read } of versions) {
  test(`version ${name}`, () => {
    const manifest = parseImageManifest(text);
    assert.deepEqual(plain(manifest), read);
    // Once read, it is in the final form: what is written means the same, whatever it was before.
    const written = formatImageManifest(manifest);
    assert.deepEqual(plain(parseImageManifest(written)), { ...read, acVersion: "0.8.11" });
    assert.equal(formatImageManifest(parseImageManifest(written)), written);
    const unknownIsolator = /"(private-network|block-io|cpu\/mask|memory\/limit)/.test(written);
    assert.equal(actoolAccepts(written), !unknownIsolator, written);
  });
}

// --- rules, each against the spec's own validator -----------------------------------

// [what actool says, the manifest, our problems]
const rules: [boolean, string, string[]][] = [
  [true, image(""), []],
  [true, image('"app":null,"labels":null,"dependencies":null,"pathWhitelist":null,"annotations":null'), []],
  [true, image('"unknown":{"deep":[1]},"x":null'), []],
  [true, '{"ACKIND":"ImageManifest","AcVersion":"0.8.11","NAME":"a"}', []],
  [false, "null", ["manifest: must be an object, got null"]],
  [false, "[]", ["manifest: must be an object, got a list"]],
  [false, '"ImageManifest"', ['manifest: must be an object, got "ImageManifest"']],
  [false, '{"acVersion":"0.8.11","name":"a"}', ["manifest: acKind: is required"]],
  [
    false,
    '{"acKind":"PodManifest2","acVersion":"0.8.11","name":"a"}',
    ['manifest: acKind: must be "ImageManifest", got "PodManifest2"'],
  ],
  [false, '{"acKind":"ImageManifest","name":"a"}', ["manifest: acVersion: is required"]],
  [
    false,
    '{"acKind":"ImageManifest","acVersion":"0.8","name":"a"}',
    ['manifest: acVersion: must be a semantic version like "0.8.11", got "0.8"'],
  ],
  [false, '{"acKind":"ImageManifest","acVersion":0.8,"name":"a"}', ["manifest: acVersion: must be a string, got 0.8"]],
  [true, '{"acKind":"ImageManifest","acVersion":"1.0.0-rc+5","name":"a"}', []],
  [false, '{"acKind":"ImageManifest","acVersion":"0.8.11"}', ["manifest: name: is required"]],
  [
    false,
    '{"acKind":"ImageManifest","acVersion":"0.8.11","name":"Example"}',
    ['manifest: name: must be lower-case letters, digits and inner "-", ".", "_", "~", "/", got "Example"'],
  ],

  [true, image('"labels":[{"name":"version"},{"name":"a--b","value":"x\\ny"}]'), []],
  [
    false,
    image('"labels":[{"name":"name","value":"x"}]'),
    ['manifest: labels[0].name: must be another name, got "name"'],
  ],
  [
    false,
    image('"labels":[{"name":"a","value":"x"},{"name":"a","value":"x"}]'),
    ['manifest: labels[1].name: must be unique in its list, got "a" again'],
  ],
  [false, image('"labels":[{"name":"a","value":1}]'), ["manifest: labels[0].value: must be a string, got 1"]],
  [false, image('"labels":["a"]'), ['manifest: labels[0]: must be an object, got "a"']],
  [false, image('"labels":{"os":"linux"}'), ["manifest: labels: must be a list, got an object"]],
  [false, image('"labels":"a"'), ['manifest: labels: must be a list, got "a"']],

  [
    false,
    image('"annotations":[{"name":"created","value":"yesterday"}]'),
    ['manifest: annotations[0].value: must be an RFC 3339 time like "2014-10-27T19:32:27Z", got "yesterday"'],
  ],
  [
    false,
    image('"annotations":[{"name":"created"}]'),
    ['manifest: annotations[0].value: must be an RFC 3339 time like "2014-10-27T19:32:27Z", got ""'],
  ],
  [
    false,
    image('"annotations":[{"name":"homepage","value":"ftp://x"}]'),
    ['manifest: annotations[0].value: must be an http or https URL, got "ftp://x"'],
  ],
  [
    false,
    image('"annotations":[{"name":"documentation","value":""}]'),
    ['manifest: annotations[0].value: must be an http or https URL, got ""'],
  ],
  [
    true,
    image('"annotations":[{"name":"homepage","value":"HTTPS://example.com/%20é"},{"name":"authors","value":"a\\nb"}]'),
    [],
  ],
  [
    false,
    image('"annotations":[{"name":"a","value":""},{"name":"a","value":""}]'),
    ['manifest: annotations[1].name: must be unique in its list, got "a" again'],
  ],

  [true, app(""), []],
  [true, image('"app":{"exec":null,"user":"0","group":"0"}'), []],
  [true, image('"app":{"user":"0","group":"0"}'), []],
  [false, image('"app":[]'), ["manifest: app: must be an object, got a list"]],
  [false, image('"app":{"exec":["/a"]}'), ["manifest: app.user: is required", "manifest: app.group: is required"]],
  [
    false,
    image('"app":{"exec":["/a"],"user":"","group":0}'),
    ['manifest: app.user: must not be empty, got ""', "manifest: app.group: must be a string, got 0"],
  ],
  [
    false,
    image('"app":{"exec":{"a":1},"user":"0","group":"0"}'),
    ["manifest: app.exec: must be a list, got an object"],
  ],
  [false, image('"app":{"exec":["/a",1],"user":"0","group":"0"}'), ["manifest: app.exec[1]: must be a string, got 1"]],

  [true, app('"supplementaryGIDs":[0,4294967294]'), []],
  [
    false,
    app('"supplementaryGIDs":[1.5,"1"]'),
    [
      "manifest: app.supplementaryGIDs[0]: must be an integer from 0 to 4294967294, got 1.5",
      'manifest: app.supplementaryGIDs[1]: must be an integer from 0 to 4294967294, got "1"',
    ],
  ],
  [true, app('"workingDirectory":""'), []],
  [false, app('"workingDirectory":"opt"'), ['manifest: app.workingDirectory: must be absolute, got "opt"']],
  [
    false,
    app('"environment":[{"name":"A=B","value":""}]'),
    ['manifest: app.environment[0].name: must be a letter or "_", then letters, digits, "_", "." and "-", got "A=B"'],
  ],
  [
    false,
    app('"environment":[{"name":"A","value":"1"},{"name":"B"},{"name":"A","value":"2"}]'),
    ['manifest: app.environment[2].name: must be unique in its list, got "A" again'],
  ],
  [
    false,
    app('"eventHandlers":[{"name":"pre-stop","exec":["/a"]}]'),
    ['manifest: app.eventHandlers[0].name: must be "pre-start" or "post-stop", got "pre-stop"'],
  ],
  [
    false,
    app('"eventHandlers":[{"name":"pre-start","exec":["/a"]},{"name":"pre-start","exec":["/b"]}]'),
    ['manifest: app.eventHandlers[1].name: must be unique in its list, got "pre-start" again'],
  ],
  [true, app('"mountPoints":[{"name":"a","path":"/a"},{"name":"a","path":"/b"}]'), []],
  [
    false,
    app('"mountPoints":[{"name":"influxData","path":"/a"}]'),
    ['manifest: app.mountPoints[0].name: must be lower-case letters, digits and inner hyphens, got "influxData"'],
  ],
  [
    false,
    app('"mountPoints":[{"name":"a/b","path":"/a"}]'),
    ['manifest: app.mountPoints[0].name: must be lower-case letters, digits and inner hyphens, got "a/b"'],
  ],
  [
    false,
    app('"mountPoints":[{"name":"a","path":"/a","readOnly":"yes"}]'),
    ['manifest: app.mountPoints[0].readOnly: must be true or false, got "yes"'],
  ],
  [true, app('"ports":[{"name":"a","port":1},{"name":"b","protocol":"sctp","port":65535,"count":0}]'), []],
  [
    false,
    app('"ports":[{"name":"a","protocol":"tcp","port":0}]'),
    ["manifest: app.ports[0].port: must be an integer from 1 to 65535, got 0"],
  ],
  [
    false,
    app('"ports":[{"name":"a","protocol":"tcp","port":65536}]'),
    ["manifest: app.ports[0].port: must be an integer from 1 to 65535, got 65536"],
  ],
  [
    false,
    app('"ports":[{"name":"a","protocol":"tcp","port":"80"}]'),
    ['manifest: app.ports[0].port: must be an integer from 1 to 65535, got "80"'],
  ],
  [false, app('"ports":[{"name":"a","protocol":"tcp"}]'), ["manifest: app.ports[0].port: is required"]],
  [
    false,
    app('"ports":[{"name":"a","protocol":"tcp","port":65535,"count":2}]'),
    ["manifest: app.ports[0].count: must end at port 65535, got 2 from 65535"],
  ],
  [
    false,
    app('"ports":[{"name":"a","protocol":"tcp","port":1,"count":-1}]'),
    ["manifest: app.ports[0].count: must be an integer from 0 to 65535, got -1"],
  ],
  [false, app('"userLabels":{"a":1}'), ["manifest: app.userLabels.a: must be a string, got 1"]],
  [false, app('"userAnnotations":["a"]'), ["manifest: app.userAnnotations: must be an object, got a list"]],
  [
    false,
    app('"isolators":[{"name":"A","value":1}]'),
    ['manifest: app.isolators[0].name: must be lower-case letters, digits and inner "-", ".", "_", "~", "/", got "A"'],
  ],
  [true, app('"isolators":[{"name":"resource/memory","value":{"limit":"1G"}}]'), []],

  [true, image(`"dependencies":[{"imageName":"a","imageID":"${id}","size":0}]`), []],
  // What the spec's examples have in an ID's place pins nothing.
  [true, image('"dependencies":[{"imageName":"a","imageID":"sha512-..."}]'), []],
  [false, image('"dependencies":[{"labels":[]}]'), ["manifest: dependencies[0].imageName: is required"]],
  [
    false,
    image('"dependencies":[{"imageName":"a","size":-1}]'),
    ["manifest: dependencies[0].size: must be an integer from 0 to 9007199254740991, got -1"],
  ],
  [
    false,
    image('"dependencies":[{"imageName":"a","imageID":"sha256-aa"}]'),
    [
      'manifest: dependencies[0].imageID: must be "sha512-" and 32 to 128, or "sha256-" and 32 to 64, lower-case hex digits, got "sha256-aa"',
    ],
  ],
  [false, image('"pathWhitelist":"/a"'), ['manifest: pathWhitelist: must be a list, got "/a"']],
  [false, image('"pathWhitelist":[1]'), ["manifest: pathWhitelist[0]: must be a string, got 1"]],
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
  [
    app('"mountPoints":[{"name":"a","path":"/a"},{"name":"b","path":"tmp"}]'),
    ['manifest: app.mountPoints[1].path: must be absolute, got "tmp"'],
  ],
  [
    app('"mountPoints":[{"name":"a","path":"/a/../b"}]'),
    ['manifest: app.mountPoints[0].path: must not have ".." components, got "/a/../b"'],
  ],
  [
    app('"mountPoints":[{}]'),
    ["manifest: app.mountPoints[0].name: is required", "manifest: app.mountPoints[0].path: is required"],
  ],
  [app('"ports":[{"port":1}]'), ["manifest: app.ports[0].name: is required"]],
  [
    app('"supplementaryGIDs":[-1,4294967295]'),
    [
      "manifest: app.supplementaryGIDs[0]: must be an integer from 0 to 4294967294, got -1",
      "manifest: app.supplementaryGIDs[1]: must be an integer from 0 to 4294967294, got 4294967295",
    ],
  ],
  [
    app('"workingDirectory":"/a\\nb"'),
    ['manifest: app.workingDirectory: must not contain control characters, got "/a\\nb"'],
  ],
  [
    app('"environment":[{"name":"A","value":"a\\u0000b"}]'),
    ["manifest: app.environment[0].value: must not contain U+0000"],
  ],
  [image('"app":{"exec":["/a\\u0000b"],"user":"0","group":"0"}'), ["manifest: app.exec[0]: must not contain U+0000"]],
  [image('"app":{"exec":[null],"user":"0","group":"0"}'), ["manifest: app.exec[0]: is required"]],
  [
    image('"app":{"exec":[],"user":"ro\\not","group":"0"}'),
    ['manifest: app.user: must not contain control characters, got "ro\\not"'],
  ],
  [
    image(`"app":{"exec":["${"a".repeat(131_072)}"],"user":"0","group":"0"}`),
    [`manifest: app.exec[0]: must not be longer than 131071 bytes, got "${"a".repeat(60)}"…`],
  ],
  [image('"labels":[{"value":"x"}]'), ["manifest: labels[0].name: is required"]],
  [image('"labels":[{"name":"a","value":"x","value":"y"}]'), ["manifest: labels[0].value: is given twice"]],
  [
    image('"labels":[{"name":"a","value":"x","Value":"y"}]'),
    ['manifest: labels[0].Value: is given twice, as "value" too'],
  ],
  [
    image('"labels":[{"name":"a","value":"\\udfff"}]'),
    ["manifest: labels[0].value: must not contain half of a surrogate pair"],
  ],
  [
    image('"dependencies":[{"imageName":"a","imageID":"sha512-.."}]'),
    [
      'manifest: dependencies[0].imageID: must be "sha512-" and 32 to 128, or "sha256-" and 32 to 64, lower-case hex digits, got "sha512-.."',
    ],
  ],
  [
    image('"dependencies":[{"imageName":"a/../../b"}]'),
    ['manifest: dependencies[0].imageName: must not have empty, "." or ".." path components, got "a/../../b"'],
  ],
  [
    image('"dependencies":[{"imageName":"a","root":"/opt"}]'),
    ['manifest: dependencies[0].root: must be "/": dependencies below it ended with 0.1.0'],
  ],
  [image('"pathWhitelist":["etc"]'), ['manifest: pathWhitelist[0]: must be absolute, got "etc"']],
  [
    image('"labels":[{"name":"os","value":"linux"}],"os":"linux"'),
    ['manifest: os: must not be given beside the label "os"'],
  ],
  [
    image('"labels":[{"name":"a","value":"x","val":"y"}]'),
    ['manifest: labels[0].val: must not be given beside "value"'],
  ],
];
for (const [text, errors] of stricter) {
  test(`stricter than actool: ${text.slice(0, 140)}`, () => {
    assert.deepEqual(errorsOf(text), errors);
    assert.equal(actoolAccepts(text), true);
  });
}

// What the spec's prose, or an old image, asks for beyond the Go code.
const wider: [string, (manifest: ReturnType<typeof parseImageManifest>) => unknown, unknown][] = [
  [
    app('"isolators":[{"name":"example.com/mine","val":{"a":[null]}}]'),
    (m) => m.app?.isolators,
    [{ name: "example.com/mine", value: { a: [null] } }],
  ],
  [
    app('"isolators":[{"name":"resource/memory","value":{"limit":"nonsense"}}]'),
    (m) => m.app?.isolators,
    [{ name: "resource/memory", value: { limit: "nonsense" } }],
  ],
  [image('"labels":[{"name":"os","value":"plan9"},{"name":"arch","value":"x86_64"}]'), (m) => m.labels.length, 2],
  [image('"app":{"exec":"/bin/echo  a\\tb ","user":"0","group":"0"}'), (m) => m.app?.exec, ["/bin/echo", "a", "b"]],
  [app('"environment":{"A":"1"}'), (m) => m.app?.environment, [{ name: "A", value: "1" }]],
  [
    image('"annotations":{"created":"2014-10-27T19:32:27Z"}'),
    (m) => m.annotations,
    [{ name: "created", value: "2014-10-27T19:32:27Z" }],
  ],
  [image('"dependencies":[{"app":"a"}]'), (m) => m.dependencies[0]?.imageName, "a"],
  [app('"ports":[{"name":"a","port":80.0}]'), (m) => m.app?.ports[0]?.port, 80],
];
for (const [text, pick, expected] of wider) {
  test(`wider than actool: ${text.slice(0, 140)}`, () => {
    assert.deepEqual(plain(pick(parseImageManifest(text))), expected);
    assert.equal(actoolAccepts(text), false);
  });
}

const oldRules: [string, string[]][] = [
  [
    image('"annotations":{"Bad Key":"x"}'),
    [
      'manifest: annotations["Bad Key"]: must be lower-case letters, digits and inner "-", ".", "_", "~", "/", got "Bad Key"',
    ],
  ],
  [
    image('"annotations":{"created":"x"}'),
    ['manifest: annotations.created: must be an RFC 3339 time like "2014-10-27T19:32:27Z", got "x"'],
  ],
  [
    app('"environment":{"A B":1}'),
    [
      'manifest: app.environment["A B"]: must be a letter or "_", then letters, digits, "_", "." and "-", got "A B"',
      'manifest: app.environment["A B"]: must be a string, got 1',
    ],
  ],
  [app('"isolators":[{"name":"a"}]'), ["manifest: app.isolators[0].value: is required"]],
  [
    image('"app":{"exec":"/bin/sh -c \'a b\'","user":"0","group":"0"}'),
    ["manifest: app.exec: must be a list where words are quoted, got \"/bin/sh -c 'a b'\""],
  ],
  [
    '{"acKind":"AppManifest","acVersion":"0.1.0","name":"a","exec":["/a"],"ports":[{}]}',
    ["manifest: ports[0].port: is required", "manifest: ports[0].name: is required"],
  ],
  [
    '{"acKind":"FilesetManifest","acVersion":"0.1.0","name":"a","files":["b"],"dependencies":[{"name":"a","hash":"sha256-00"}]}',
    [
      'manifest: dependencies[0].hash: must be "sha512-" and 32 to 128, or "sha256-" and 32 to 64, lower-case hex digits, got "sha256-00"',
      'manifest: files[0]: must be absolute, got "b"',
    ],
  ],
];
for (const [text, errors] of oldRules) {
  test(`old spelling: ${text.slice(0, 140)}`, () => assert.deepEqual(errorsOf(text), errors));
}

// --- hostile -------------------------------------------------------------------------

test("names like __proto__ are names, and nothing else", () => {
  const text = `{"__proto__":{"name":"x"},"constructor":1,${image('"toString":2').slice(1)}`;
  const manifest = parseImageManifest(text);
  assert.deepEqual(errorsOf('{"__proto__":{"acKind":"ImageManifest","acVersion":"0.8.11","name":"x"}}').slice(0, 1), [
    "manifest: acKind: is required",
  ]);
  assert.equal(manifest.name, "example.com/app");

  const labels = parseImageManifest(app('"userLabels":{"__proto__":"x","hasOwnProperty":"y"}')).app?.userLabels ?? {};
  assert.equal(Object.getPrototypeOf(labels), null);
  assert.deepEqual(Object.entries(labels), [
    ["__proto__", "x"],
    ["hasOwnProperty", "y"],
  ]);
  const isolator = parseImageManifest(app('"isolators":[{"name":"a","value":{"__proto__":{"x":1}}}]')).app
    ?.isolators[0];
  assert.equal(JSON.stringify(isolator?.value), '{"__proto__":{"x":1}}');
  assert.equal("x" in {}, false);
});

test("errors stop at fifty", () => {
  const text = app(`"supplementaryGIDs":[${Array(1000).fill("-1").join()}]`);
  assert.equal(errorsOf(text).length, 50);
});

test("four megabytes are read or refused, whatever their shape", () => {
  const n = 4_000_000;
  const fill = (part: string, room: number): string => part.repeat(Math.floor(room / part.length)).slice(0, -1);
  assert.match(errorsOf(image(`"x":[${fill("[],", n)}]`)).join(), /^manifest: x\[9998\]: must not be the 10001th /);
  assert.deepEqual(errorsOf(image(`"x":"${"\\n".repeat(n / 2)}"`)), []);
  assert.deepEqual(errorsOf(image(`"pathWhitelist":[${fill('"/a",', n)}]`)), []);
  assert.equal(errorsOf(image(`"name":"${"a-".repeat(n / 2)}"`)).length, 1);
  const keys = Array.from({ length: 200_000 }, (_, i) => `"k${i}":0`).join();
  assert.deepEqual(errorsOf(image(keys)), []);
  assert.match(
    errorsOf(image(`"x":"${"a".repeat(5_000_000)}"`)).join(),
    /^manifest: must not be larger than 4194304 bytes, got 50000\d\d$/,
  );
});

test("the caller names the document", () => {
  assert.throws(() => parseImageManifest("{", { object: "manifest of stage1.aci" }), {
    code: "manifest-invalid",
    exitCode: 254,
    message: "manifest of stage1.aci: line 1, column 2: expected a name in double quotes, got the end",
  });
});

// --- writing ---------------------------------------------------------------------------

test("the written form is the spec's, in its order, without defaults", () => {
  const text = versions.at(-1)?.text ?? "";
  assert.equal(
    formatImageManifest(parseImageManifest(text)),
    `{
  "acKind": "ImageManifest",
  "acVersion": "0.8.11",
  "name": "example.com/worker",
  "labels": [
    {
      "name": "version",
      "value": "1.0.0"
    },
    {
      "name": "os",
      "value": "linux"
    },
    {
      "name": "arch",
      "value": "amd64"
    }
  ],
  "app": {
    "exec": [
      "worker",
      "line\\nline",
      ""
    ],
    "user": "100",
    "group": "300",
    "supplementaryGIDs": [
      400
    ],
    "eventHandlers": [
      {
        "exec": [
          "/a"
        ],
        "name": "pre-start"
      },
      {
        "exec": [
          "/b"
        ],
        "name": "post-stop"
      }
    ],
    "workingDirectory": "/opt/work",
    "environment": [
      {
        "name": "PS1",
        "value": "\\u001b[1m$ \\n"
      }
    ],
    "isolators": [
      {
        "name": "os/linux/seccomp-remove-set",
        "value": {
          "errno": "EPERM",
          "set": [
            "reboot"
          ]
        }
      }
    ],
    "mountPoints": [
      {
        "name": "work",
        "path": "/var/lib/work",
        "readOnly": true
      }
    ],
    "ports": [
      {
        "name": "health",
        "port": 4000,
        "protocol": "tcp",
        "socketActivated": true
      },
      {
        "name": "ftp-data",
        "port": 65000,
        "count": 536,
        "protocol": "udp"
      }
    ],
    "userAnnotations": {
      "any text": "1"
    },
    "userLabels": {
      "__proto__": "x",
      "constructor": "y"
    }
  },
  "dependencies": [
    {
      "imageName": "example.com/base",
      "imageID": "${id}",
      "labels": [
        {
          "name": "env",
          "value": "canary"
        }
      ],
      "size": 1
    }
  ],
  "pathWhitelist": [
    "/etc/worker.conf"
  ],
  "annotations": [
    {
      "name": "created",
      "value": "2014-10-27T19:32:27Z"
    },
    {
      "name": "appc.io/executor/supports-systemd-notify",
      "value": "false"
    }
  ]
}
`,
  );
});

const EXAMPLE = "/usr/share/doc/appc-spec/examples/image.json";
test("the example of appc-spec", {
  skip: existsSync(EXAMPLE) ? false : "the package's documentation is not installed",
}, () => {
  const manifest = parseImageManifest(readFileSync(EXAMPLE, "utf8"));
  // "sha512-..." there.
  assert.equal(manifest.dependencies[0]?.imageID, undefined);
  assert.equal(manifest.app?.isolators.length, 5);
  assert.equal(annotation(manifest.annotations, "created"), "2014-10-27T19:32:27.67021798Z");
  assert.equal(actoolAccepts(formatImageManifest(manifest)), true);
});

// --- questions about images ----------------------------------------------------------------

test("appFromImage gives lists of its own", () => {
  const manifest = parseImageManifest(app('"environment":[{"name":"A","value":"1"}],"userLabels":{"__proto__":"x"}'));
  const copy = appFromImage(manifest);
  assert.deepEqual(copy, manifest.app);
  copy.exec.push("--more");
  copy.environment.pop();
  copy.userLabels["b"] = "c";
  assert.deepEqual(manifest.app?.exec, ["/a"]);
  assert.equal(manifest.app?.environment.length, 1);
  assert.deepEqual(Object.keys(manifest.app?.userLabels ?? {}), ["__proto__"]);
});

test("an image without an app", () => {
  assert.throws(() => appFromImage(parseImageManifest(image(""))), {
    code: "no-app",
    message: "image example.com/app has no app section",
    hint: "it is not made to run by itself; say with --exec what to run",
  });
  const manifest = { ...parseImageManifest(image("")), app: bareApp(["/bin/sh"]) };
  assert.equal(actoolAccepts(formatImageManifest(manifest)), true);
  assert.deepEqual(plain(manifest.app), { ...emptyApp, exec: ["/bin/sh"], user: "0", group: "0" });
});

test("labels and annotations by name", () => {
  const manifest = parseImageManifest(
    image('"labels":[{"name":"os","value":"linux"}],"annotations":[{"name":"a","value":""}]'),
  );
  assert.equal(label(manifest, "os"), "linux");
  assert.equal(label(manifest, "arch"), undefined);
  assert.equal(annotation(manifest.annotations, "a"), "");
  assert.equal(annotation(manifest.annotations, "toString"), undefined);
});

const hosts: [os: string | undefined, arch: string | undefined, runs: boolean, platform?: string][] = [
  ["linux", "amd64", true],
  ["linux", "x86_64", true],
  ["linux", undefined, true],
  [undefined, undefined, true],
  [undefined, "arm", true],
  ["linux", "aarch64", false, "linux/aarch64"],
  ["linux", "i386", false, "linux/i386"],
  ["linux", "", false, "linux/"],
  ["freebsd", "amd64", false, "freebsd/amd64"],
  ["darwin", undefined, false, "darwin/any"],
  ["Linux", "amd64", false, "Linux/amd64"],
];
for (const [os, arch, runs, platform] of hosts) {
  test(`an image for ${os}/${arch}`, () => {
    const labels = [
      ...(os === undefined ? [] : [{ name: "os", value: os }]),
      ...(arch === undefined ? [] : [{ name: "arch", value: arch }]),
    ];
    assert.equal(imageMatchesHost(labels), runs);
    const check = (): void => requireHost({ name: "example.com/app", labels });
    if (runs) check();
    else {
      assert.throws(check, (error) => {
        assert.ok(error instanceof RktError);
        assert.equal(error.code, "wrong-platform");
        assert.equal(error.message, `image example.com/app is made for ${platform}, this host is linux/amd64`);
        return true;
      });
    }
  });
}
