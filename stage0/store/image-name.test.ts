import assert from "node:assert/strict";
import { test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import { formatImageName, type ImageName, mismatch, parseImageName } from "./image-name.ts";

const names: { text: string; want: ImageName; canonical?: string }[] = [
  { text: "etcd", want: { name: "etcd", labels: [] } },
  { text: "coreos.com/etcd", want: { name: "coreos.com/etcd", labels: [] } },
  { text: "coreos.com/etcd:v2.0.0", want: { name: "coreos.com/etcd", labels: [{ name: "version", value: "v2.0.0" }] } },
  {
    text: "coreos.com/etcd:v2.0.0,os=linux,arch=amd64",
    want: {
      name: "coreos.com/etcd",
      labels: [
        { name: "version", value: "v2.0.0" },
        { name: "os", value: "linux" },
        { name: "arch", value: "amd64" },
      ],
    },
  },
  {
    text: "example.com/a-b_c.d~e,version=1.0.0+git",
    want: { name: "example.com/a-b_c.d~e", labels: [{ name: "version", value: "1.0.0+git" }] },
    canonical: "example.com/a-b_c.d~e:1.0.0+git",
  },
  // Only the first "=" of a label separates.
  { text: "a.b/c,note=x=y:z", want: { name: "a.b/c", labels: [{ name: "note", value: "x=y:z" }] } },
  { text: "127.0.0.1/app", want: { name: "127.0.0.1/app", labels: [] } },
];

for (const c of names) {
  test(`name ${c.text}`, () => {
    assert.deepEqual(parseImageName(c.text), c.want);
    assert.equal(formatImageName(c.want), c.canonical ?? c.text);
    assert.deepEqual(parseImageName(formatImageName(c.want)), c.want);
  });
}

const bad: [text: string, message: string][] = [
  ["", "there is no name"],
  [":v1", "there is no name"],
  ["Coreos.com/etcd", 'the name must be lower-case letters, digits and inner "-", ".", "_", "~", "/"'],
  ["a//b", 'the name must not have empty, "." or ".." path components'],
  ["a/../b", 'the name must not have empty, "." or ".." path components'],
  ["-a", 'the name must be lower-case letters, digits and inner "-", ".", "_", "~", "/"'],
  ["a b", 'the name must be lower-case letters, digits and inner "-", ".", "_", "~", "/"'],
  ["a.b/c:", "there is no version after the colon"],
  ["localhost:5000/app", 'the colon starts the version, and "5000/app" is none'],
  ["a.b/c:1:2", 'the colon starts the version, and "1:2" is none'],
  ["a.b/c,os", 'label "os" is not LABEL=VALUE'],
  ["a.b/c,", 'label "" is not LABEL=VALUE'],
  ["a.b/c,=x", '"" is no label name'],
  ["a.b/c,OS=linux", '"OS" is no label name'],
  ["a.b/c,os=", "label os has no value"],
  ["a.b/c,name=d", 'a label cannot be called "name"'],
  ["a.b/c:1,version=2", "label version is given twice"],
];

for (const [text, message] of bad) {
  test(`bad name ${JSON.stringify(text)}`, () => {
    assert.throws(
      () => parseImageName(text),
      (error) =>
        error instanceof RktError &&
        error.exitCode === 2 &&
        error.message === `image name ${JSON.stringify(text)}: ${message}`,
    );
  });
}

const label = (name: string, value: string) => ({ name, value });
const matches: { image: ImageName; asked: string; want: string | undefined }[] = [
  { image: { name: "a.b/c", labels: [] }, asked: "a.b/c", want: undefined },
  { image: { name: "a.b/c", labels: [label("version", "1"), label("os", "linux")] }, asked: "a.b/c", want: undefined },
  { image: { name: "a.b/d", labels: [] }, asked: "a.b/c", want: "its manifest's name is a.b/d" },
  { image: { name: "a.b/c", labels: [] }, asked: "a.b/c:1", want: "its manifest has no label version" },
  {
    image: { name: "a.b/c", labels: [label("version", "2")] },
    asked: "a.b/c:1",
    want: `its manifest's label version is "2"`,
  },
  {
    image: { name: "a.b/c", labels: [label("os", "freebsd")] },
    asked: "a.b/c",
    want: `its manifest's label os is "freebsd", and this machine is linux`,
  },
  { image: { name: "a.b/c", labels: [label("os", "freebsd")] }, asked: "a.b/c,os=freebsd", want: undefined },
];

for (const c of matches) {
  test(`${formatImageName(c.image)} for ${c.asked}`, () => {
    assert.equal(mismatch(c.image, parseImageName(c.asked)), c.want);
  });
}

test("a URL without its // is named as one, and no part of it alone", () => {
  assert.throws(() => parseImageName("http:me:secret@host/x"), {
    message: 'image name "http:me:secret@host/x": a URL has // after its scheme',
  });
});
