/**
 * `node code-cache.cjs CODE CACHE`: writes V8's bytecode of all functions in
 * CODE, as `vm.Script` takes it. A process of its own, because V8's flags hold
 * for one, and the bytecode is good for the same flags only.
 */

"use strict";
const { readFileSync, writeFileSync } = require("node:fs");
const { setFlagsFromString } = require("node:v8");
const { Script } = require("node:vm");

const [, , code, cache] = process.argv;
setFlagsFromString("--no-lazy");
const script = new Script(readFileSync(code, "utf8"));
setFlagsFromString("--lazy");
writeFileSync(cache, script.createCachedData());
