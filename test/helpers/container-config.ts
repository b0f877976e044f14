/**
 * What a machine says of registries, without touching this machine: rkt's own
 * configuration in a directory of the test, and /etc/containers and root's home
 * in a mount namespace of the program's own.
 */

import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { dirname, join } from "node:path";
import { type Result, type Rkt, rktBinary } from "./rkt.ts";

export interface Machine {
  /** Of rkt: its configuration directories. */
  readonly options: readonly string[];
  /** Gives rkt a password for a registry, in a file of its own kind; returns its path. */
  auth(host: string, user: string, password: string): string;
  /** Writes a file of /etc/containers. */
  containers(path: string, text: string): void;
  /** Writes a file of root's home. */
  home(path: string, text: string): void;
  /** Runs rkt there. A server of this process can answer meanwhile. */
  run(args: readonly string[], env?: Record<string, string>): Promise<Result>;
  /** The same of another program, whose first arguments these are. */
  program(name: string, first?: readonly string[]): (args: readonly string[], env?: Record<string, string>) => Promise<Result>;
}

const INSIDE = `mount --bind "$1" /etc/containers && mount --bind "$2" "$3" && shift 3 && exec "$@"`;

export function machineOf(rkt: Rkt): Machine {
  const at = (name: string) => join(rkt.scratch, "machine", name);
  const [system, local, containers, home] = ["system", "local", "containers", "home"].map(at) as [string, string, string, string];
  for (const dir of [system, local, containers, home]) mkdirSync(dir, { recursive: true });
  const write = (path: string, text: string, mode = 0o644) => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text, { mode });
    return path;
  };
  const program = (name: string, first: readonly string[] = []) => {
    return (args: readonly string[], env: Record<string, string> = {}): Promise<Result> => {
      const words = ["--mount", "sh", "-c", INSIDE, "sh", containers, home, userInfo().homedir, name, ...first, ...args];
      const child = spawn("unshare", words, { cwd: "/", env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
      const said = { stdout: "", stderr: "" };
      for (const stream of ["stdout", "stderr"] as const)
        child[stream].on("data", (chunk: Buffer) => {
          said[stream] += chunk.toString();
        });
      return new Promise((resolve, reject) => {
        child.once("error", reject);
        child.once("close", (status, signal) => resolve({ status, signal, ...said }));
      });
    };
  };
  const options = [`--system-config=${system}`, `--local-config=${local}`];
  return {
    options,
    auth(host, user, password) {
      const credentials = { user, password };
      const text = JSON.stringify({ rktKind: "dockerAuth", rktVersion: "v1", registries: [host], credentials });
      return write(join(local, "auth.d/registry.json"), text, 0o600);
    },
    containers: (path, text) => void write(join(containers, path), text),
    home: (path, text) => void write(join(home, path), text, 0o600),
    run: program(rktBinary, [`--dir=${rkt.dir}`]),
    program,
  };
}
