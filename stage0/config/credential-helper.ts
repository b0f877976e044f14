/**
 * Programs that keep passwords of registries: `docker-credential-NAME get`. One
 * is started from root's own directories of programs, with root's home and
 * nothing else of the caller's environment, and gets the registry's name on
 * stdin. What it prints and how long it takes is bounded.
 *
 * Source: docker-credential-helpers, its README.
 */

import { spawn } from "node:child_process";
import { userInfo } from "node:os";
import { errorCode, RktError } from "../../shared/errors.ts";
import { HOST_ENVIRONMENT } from "../../shared/program.ts";
import { parseJson } from "../../shared/schema/json.ts";
import { fields, root } from "../../shared/schema/place.ts";
import { DOCKER_HUB } from "./registry-hosts.ts";
import type { RegistryLogin } from "./registry-login.ts";

const OUTPUT_LIMIT = 64 << 10;
const TIME_LIMIT = 30_000;
/** What the helpers print for a registry that they know nothing of. */
const NOTHING = /credentials not found/i;
/** Docker has its passwords for Docker Hub under this name. */
const HUB_URL = "https://index.docker.io/v1/";

/** Undefined if the helper has none. `path` is the file that names it. */
export async function askHelper(name: string, host: string, path: string): Promise<RegistryLogin | undefined> {
  const program = `docker-credential-${name}`;
  const fail = (why: string, hint?: string) =>
    new RktError("credential-helper", `${program}, which ${path} names: ${why}`, { hint });
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name))
    throw new RktError("credential-helper", `${path} names a credential helper ${JSON.stringify(name.slice(0, 64))}`, {
      hint: "a helper is a word: of docker-credential-pass it is pass",
    });
  const { status, output } = await run(program, host === DOCKER_HUB ? HUB_URL : host, fail);
  if (status !== 0) {
    if (NOTHING.test(output)) return undefined;
    throw fail(`it ends with ${status}`, `run it yourself: echo ${host} | ${program} get`);
  }
  let user: unknown;
  let secret: unknown;
  try {
    const get = fields(root(parseJson(output, "the answer"), "the answer"));
    user = get("Username").value;
    secret = get("Secret").value;
  } catch {
    // What is wrong is not shown: the answer holds a secret.
    throw fail("its answer is no JSON");
  }
  const origin = `${program} (${path})`;
  if (typeof secret !== "string" || typeof user !== "string") throw fail("its answer has no Username and Secret");
  if (secret === "") return undefined;
  if (user === "<token>") return { identityToken: secret, origin };
  if (user === "" || user.includes(":")) throw fail("its Username can't be one");
  return { user, password: secret, origin };
}

async function run(
  program: string,
  input: string,
  fail: (why: string, hint?: string) => RktError,
): Promise<{ status: number; output: string }> {
  return await new Promise((resolve, reject) => {
    const child = spawn(program, ["get"], {
      env: { ...HOST_ENVIRONMENT, HOME: userInfo().homedir },
      cwd: "/",
      stdio: ["pipe", "pipe", "ignore"],
      // A process group of its own: what the helper starts ends with it.
      detached: true,
    });
    let late = false;
    const end = () => {
      if (child.pid !== undefined) signalGroup(child.pid);
      child.stdout.destroy();
    };
    const timer = setTimeout(() => {
      late = true;
      end();
    }, TIME_LIMIT);
    const parts: Buffer[] = [];
    let size = 0;
    child.stdout.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size <= OUTPUT_LIMIT) parts.push(chunk);
      else end();
    });
    child.stdin.on("error", () => {});
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(
        errorCode(error) === "ENOENT"
          ? fail("there is no such program", `it must be in ${HOST_ENVIRONMENT["PATH"]}`)
          : fail(String(errorCode(error))),
      );
    });
    child.on("close", (status, signal) => {
      clearTimeout(timer);
      if (size > OUTPUT_LIMIT) reject(fail(`it prints more than ${OUTPUT_LIMIT} bytes`));
      else if (late) reject(fail(`it takes more than ${TIME_LIMIT / 1000} s`));
      else if (signal !== null) reject(fail(`it was ended by ${signal}`));
      else resolve({ status: status ?? 1, output: Buffer.concat(parts).toString("utf8") });
    });
    child.stdin.end(`${input}\n`);
  });
}

/** Ends a group of processes, if it is still there. */
function signalGroup(group: number): void {
  try {
    process.kill(-group, "SIGKILL");
  } catch (error) {
    if (errorCode(error) !== "ESRCH") throw error;
  }
}
