import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Stage1Settings } from "../config/settings.ts";
import { wantedStage1 } from "./wanted-stage1.ts";

const dir = mkdtempSync(join(tmpdir(), "rkt-stage1-"));
test.after(() => rmSync(dir, { recursive: true }));
writeFileSync(join(dir, "stage1-nspawn.aci"), "");
writeFileSync(join(dir, "stage1-other.aci"), "");

const configured = mkdtempSync(join(dir, "configured-"));
writeFileSync(join(configured, "stage1-nspawn.aci"), "");
const nowhere = join(dir, "nowhere");
const references: {
  name: string;
  request: Parameters<typeof wantedStage1>[0];
  settings?: Stage1Settings;
  is: unknown;
  stored?: unknown;
}[] = [
  { name: "the default", request: undefined, is: { kind: "file", path: join(dir, "stage1-nspawn.aci") } },
  {
    name: "from the directories",
    request: { by: "from-dir", text: "stage1-other.aci" },
    is: { kind: "file", path: join(dir, "stage1-other.aci") },
  },
  {
    name: "a path that looks like a name",
    request: { by: "path", text: "stage1" },
    is: { kind: "file", path: "stage1" },
  },
  { name: "a hash", request: { by: "hash", text: "sha512-abcd" }, is: { kind: "hash", hash: "sha512-abcd" } },
  { name: "a file's URL", request: { by: "url", text: "file:///x.aci" }, is: { kind: "file", path: "/x.aci" } },
  {
    name: "a URL",
    request: { by: "url", text: "https://h/x.aci" },
    is: { kind: "url", url: new URL("https://h/x.aci") },
  },
  {
    name: "a name",
    request: { by: "name", text: "coreos.com/rkt/stage1:1" },
    is: { kind: "name", name: "coreos.com/rkt/stage1", labels: [{ name: "version", value: "1" }] },
  },
  { name: "anything", request: { by: "image", text: "./x" }, is: { kind: "file", path: "./x" } },
  {
    name: "the default, from the configured directory",
    request: undefined,
    settings: { images: configured },
    is: { kind: "file", path: join(configured, "stage1-nspawn.aci") },
  },
  {
    name: "a configured location",
    request: undefined,
    settings: { location: "https://h/s.aci" },
    is: { kind: "url", url: new URL("https://h/s.aci") },
    stored: undefined,
  },
  {
    name: "a configured name, and a location for when the store has none",
    request: undefined,
    settings: { name: "example.com/stage1", version: "2", location: "/s.aci" },
    is: { kind: "file", path: "/s.aci" },
    stored: { name: "example.com/stage1", labels: [{ name: "version", value: "2" }] },
  },
  {
    name: "a configured name alone",
    request: undefined,
    settings: { name: "example.com/stage1", version: "2" },
    is: { kind: "name", name: "example.com/stage1", labels: [{ name: "version", value: "2" }] },
    stored: { name: "example.com/stage1", labels: [{ name: "version", value: "2" }] },
  },
  {
    name: "an option before what is configured",
    request: { by: "path", text: "stage1" },
    settings: { name: "example.com/stage1", version: "2", location: "/s.aci" },
    is: { kind: "file", path: "stage1" },
  },
];

for (const { name, request, settings, is, stored } of references)
  test(`stage1 image: ${name}`, () => {
    const wanted = wantedStage1(request, dir, settings);
    assert.deepEqual(wanted.reference, is);
    assert.deepEqual(wanted.stored, stored);
  });

test("stage1 image: not there", () => {
  assert.throws(() => wantedStage1(undefined, nowhere), {
    code: "no-stage1",
    message: `there is no stage1 image stage1-nspawn.aci: looked in ${nowhere}, /usr/lib/rkt/stage1-images, /usr/local/lib/rkt/stage1-images`,
  });
});

test("stage1 image: an option that says hash takes no file", () => {
  assert.throws(() => wantedStage1({ by: "hash", text: "./x.aci" }, dir), {
    code: "usage",
    message: '--stage1-hash "./x.aci" is a file',
  });
});
