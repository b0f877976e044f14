/**
 * The hostile images that only show in a whole command, and a sample of the
 * others, go through the built `rkt`: imported, rendered, made into a
 * container. `stage0/store/hostile-images.test.ts` has the others. Judged by
 * find(1), sha256sum(1) and time(1).
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ENTRYPOINTS } from "../../shared/contract/annotations.ts";
import { makeAci, manifest } from "../fixtures/aci.ts";
import { requires, rktBinary } from "../helpers/rkt.ts";
import { assertKept, assertRefused, assertUntouched, inDirectory } from "./image-judge.ts";
import { hostileImages } from "./images.ts";

/** Milliseconds for one image, and megabytes of memory. */
const TIME_LIMIT = 30_000;
const MEMORY_LIMIT = 300;

/** Of the images that the import judges, each so many-th goes through the whole command too. */
const SAMPLE = 16;

const annotations = [{ name: ENTRYPOINTS.init, value: "/init" }];
const stage1Image = makeAci([], manifest({ name: "example.com/stage1", app: undefined, annotations }));

for (const image of hostileImages.filter(({ wholeCommand }, i) => wholeCommand === true || i % SAMPLE === 0))
  test(`hostile image, by the whole command: ${image.name}`, (t) => {
    if (!requires(t, "root", "build", "time")) return;
    const { home, file, data } = inDirectory(t, image);
    const stage1 = join(home, "stage1.aci");
    writeFileSync(stage1, stage1Image);
    const figures = join(home, "figures");
    const command = [rktBinary, `--dir=${data}`, "prepare", `--stage1-path=${stage1}`, file];
    const argv = ["--format=%M", `--output=${figures}`, ...command];
    const { status, signal, stderr } = spawnSync("time", argv, { encoding: "utf8", timeout: TIME_LIMIT, cwd: home });
    const megabytes = Number(spawnSync("tail", ["-n1", figures], { encoding: "utf8" }).stdout) / 1024;

    assert.equal(signal, null, "it ends");
    assertUntouched();
    assert.ok(megabytes > 0 && megabytes < MEMORY_LIMIT, `${megabytes} MB of memory`);
    assert.equal(status, image.refused === undefined ? 0 : 254, stderr);
    if (image.refused === undefined) assertKept(image, data);
    else assertRefused(stderr, image.refused, data);
  });
