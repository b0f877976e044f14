import assert from "node:assert/strict";
import { test } from "node:test";
import type { Mount, PodManifest, Volume } from "../../shared/schema/types.ts";
import { nestedMounts } from "./nested-mounts.ts";

const host = (name: string, more: Partial<Volume> = {}): Volume => ({ name, kind: "host", source: "/srv", ...more });
const empty = (name: string): Volume => ({ name, kind: "empty" });
const at = (volume: string, path: string, appVolume?: Volume): Mount =>
  appVolume === undefined ? { volume, path } : { volume, path, appVolume };

interface Case {
  name: string;
  volumes: Volume[];
  apps: Record<string, Mount[]>;
  warned: [app: string, path: string, outer: string, inner: string][];
}

const cases: Case[] = [
  {
    name: "below a volume of the host",
    volumes: [host("data"), empty("sub")],
    apps: { a: [at("sub", "/data/sub"), at("data", "/data/")] },
    warned: [["a", "/data/sub", "data", "sub"]],
  },
  {
    name: "below one that nobody of the container may write to",
    volumes: [host("data", { readOnly: true }), empty("sub")],
    apps: { a: [at("data", "/data"), at("sub", "/data/sub")] },
    warned: [],
  },
  {
    name: "beside it",
    volumes: [host("data"), empty("sub")],
    apps: { a: [at("data", "/data"), at("sub", "/database")] },
    warned: [],
  },
  {
    name: "below an empty volume that another app has, too",
    volumes: [empty("work"), empty("sub")],
    apps: { a: [at("work", "/job"), at("sub", "/job/sub")], b: [at("work", "/w")] },
    warned: [["a", "/job/sub", "work", "sub"]],
  },
  {
    name: "below an empty volume of its own",
    volumes: [empty("work"), empty("sub")],
    apps: { a: [at("work", "/job"), at("sub", "/job/sub"), at("x", "/own", empty("x")), at("sub", "/own/sub")] },
    warned: [],
  },
];

for (const { name, volumes, apps, warned } of cases)
  test(`a mount ${name}`, () => {
    const manifest = { volumes, apps: Object.entries(apps).map(([app, mounts]) => ({ name: app, mounts })) };
    assert.deepEqual(
      nestedMounts(manifest as unknown as PodManifest),
      warned.map(
        ([app, path, outer, inner]) =>
          `warning: app ${app}: ${path} lies in volume "${outer}": whoever writes there can remove the directory, and volume "${inner}" is then mounted no more`,
      ),
    );
  });
