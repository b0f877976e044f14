import assert from "node:assert/strict";
import { test } from "node:test";
import { appEnvironment, type EnvironmentSources } from "./environment.ts";

const nobody = { uid: 65534, gid: 65534, name: "nobody", home: "/nonexistent", shell: "/bin/false", groups: [] };
const number = { uid: 1000, gid: 1000, name: undefined, home: "/", shell: undefined, groups: [] };
const plain: EnvironmentSources = { app: "web", account: number, environment: [], passed: {} };

const cases: { name: string; sources: EnvironmentSources; env: string }[] = [
  {
    name: "the spec's variables, and a home for everyone",
    sources: plain,
    env: `
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/
AC_APP_NAME=web
container=rkt`,
  },
  {
    name: "a user of the image's passwd; a metadata service; a terminal",
    sources: { ...plain, account: nobody, metadataUrl: "http://169.254.169.255/token", terminal: "xterm-256color" },
    env: `
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/nonexistent
USER=nobody
LOGNAME=nobody
SHELL=/bin/false
TERM=xterm-256color
AC_APP_NAME=web
AC_METADATA_URL=http://169.254.169.255/token
container=rkt`,
  },
  {
    name: "the app's own win over defaults, the last of two wins, values are not evaluated",
    sources: {
      ...plain,
      terminal: "linux",
      environment: [
        { name: "PATH", value: "/opt/bin" },
        { name: "TERM", value: "dumb" },
        { name: "A", value: "1" },
        { name: "A", value: "$HOME %n `id`\n2" },
        { name: "EMPTY", value: "" },
      ],
    },
    env: `
PATH=/opt/bin
HOME=/
TERM=dumb
A=$HOME %n \`id\`
2
EMPTY=
AC_APP_NAME=web
container=rkt`,
  },
  {
    name: "what the executor promises is not the app's to change",
    sources: {
      ...plain,
      metadataUrl: "http://real",
      environment: [
        { name: "AC_APP_NAME", value: "other" },
        { name: "AC_METADATA_URL", value: "http://fake" },
        { name: "container", value: "docker" },
        { name: "LISTEN_PID", value: "1" },
      ],
      passed: { LISTEN_PID: "7", LISTEN_FDS: "2" },
    },
    env: `
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/
AC_APP_NAME=web
AC_METADATA_URL=http://real
container=rkt
LISTEN_PID=7
LISTEN_FDS=2`,
  },
  {
    name: "an image of before 0.6.0: called as the image, and no other variable than those of its time",
    sources: { ...plain, metadataUrl: "http://service", early: { image: "example.com/web", acVersion: "0.3.0" } },
    env: `
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/
AC_APP_NAME=example.com/web
AC_METADATA_URL=http://service`,
  },
  {
    name: "an image of before 0.2.0 knows the metadata service by its address",
    sources: { ...plain, metadataUrl: "http://service", early: { image: "example.com/web", acVersion: "0.1.1" } },
    env: `
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/
AC_APP_NAME=example.com/web`,
  },
  {
    name: "names of Object.prototype are names like others",
    sources: {
      ...plain,
      environment: [
        { name: "__proto__", value: "a" },
        { name: "constructor", value: "b" },
      ],
    },
    env: `
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/
__proto__=a
constructor=b
AC_APP_NAME=web
container=rkt`,
  },
];

for (const c of cases)
  test(c.name, () => {
    const lines = Object.entries(appEnvironment(c.sources)).map(([name, value]) => `\n${name}=${value}`);
    assert.equal(lines.join(""), c.env);
  });
