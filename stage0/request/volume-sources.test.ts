import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import { parsePodManifest } from "../../shared/schema/pod-manifest.ts";
import { checkVolumeSources } from "./volume-sources.ts";

const dir = realpathSync(mkdtempSync(join(tmpdir(), "rkt-volumes-")));
test.after(() => rmSync(dir, { recursive: true }));
mkdirSync(join(dir, "real/sub"), { recursive: true });
writeFileSync(join(dir, "real/file"), "");
symlinkSync("real", join(dir, "link"));
symlinkSync("nowhere", join(dir, "dangling"));

const check = (volume: object): void =>
  checkVolumeSources(
    parsePodManifest(
      JSON.stringify({ acVersion: "0.8.11", acKind: "PodManifest", apps: [], volumes: [{ name: "v", ...volume }] }),
    ),
  );
const host = (source: string): void => check({ kind: "host", source });

test("volume sources: directories, files, devices, the root, and volumes that have none", () => {
  host(join(dir, "real/sub"));
  host(join(dir, "real/sub//../sub/"));
  host(join(dir, "real/file"));
  host("/dev/null");
  host("/");
  check({ kind: "empty" });
});

const refused: { name: string; source: string; message: string; hint: string | undefined }[] = [
  {
    name: "missing",
    source: join(dir, "real/no/more"),
    message: `volume v: ${dir}/real/no/more does not exist`,
    hint: "create it first; or --volume v,kind=empty needs no path",
  },
  {
    name: "below a file",
    source: join(dir, "real/file/x"),
    message: `volume v: ${dir}/real/file/x does not exist`,
    hint: "create it first; or --volume v,kind=empty needs no path",
  },
  {
    name: "a link",
    source: join(dir, "link"),
    message: `volume v: ${dir}/link is a symbolic link`,
    hint: `name what it leads to: --volume v:${dir}/real`,
  },
  {
    name: "a link on the way",
    source: join(dir, "link/sub"),
    message: `volume v: ${dir}/link is a symbolic link`,
    hint: `name what it leads to: --volume v:${dir}/real/sub`,
  },
  {
    name: "a dangling link",
    source: join(dir, "dangling"),
    message: `volume v: ${dir}/dangling is a symbolic link`,
    hint: "name what it leads to, which must exist",
  },
];

for (const { name, source, message, hint } of refused)
  test(`volume source refused: ${name}`, () => {
    assert.throws(
      () => host(source),
      (error: unknown) => {
        assert.ok(error instanceof RktError);
        assert.deepEqual([error.code, error.message, error.hint], ["bad-volume-source", message, hint]);
        return true;
      },
    );
  });

test("volume sources: an app's own volume too", () => {
  const manifest = parsePodManifest(
    JSON.stringify({
      acVersion: "0.8.11",
      acKind: "PodManifest",
      apps: [
        {
          name: "a",
          image: { id: `sha512-${"0".repeat(128)}` },
          mounts: [{ volume: "v", path: "/v", appVolume: { name: "v", kind: "host", source: join(dir, "missing") } }],
        },
      ],
    }),
  );
  assert.throws(() => checkVolumeSources(manifest), { code: "bad-volume-source" });
});
