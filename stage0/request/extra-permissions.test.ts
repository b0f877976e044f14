import assert from "node:assert/strict";
import { test } from "node:test";
import type { Protection } from "../../shared/contract/annotations.ts";
import { bareApp } from "../../shared/schema/image-manifest.ts";
import type { Isolator } from "../../shared/schema/types.ts";
import { extraPermissions } from "./extra-permissions.ts";

const caps = (...set: string[]): Isolator => ({ name: "os/linux/capabilities-retain-set", value: { set } });
const retain = (...set: string[]): Isolator => ({ name: "os/linux/seccomp-retain-set", value: { set } });
const remove = (...set: string[]): Isolator => ({ name: "os/linux/seccomp-remove-set", value: { set } });

const cases: {
  name: string;
  image: Isolator[];
  asked?: Isolator[];
  unprotected?: Protection[];
  privateUsers?: boolean;
  more?: string;
}[] = [
  { name: "no isolators", image: [] },
  { name: "fewer capabilities", image: [caps("CAP_CHOWN", "CAP_MKNOD")] },
  {
    name: "capabilities beyond the specification's 14",
    image: [caps("CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_NET_ADMIN")],
    more: "CAP_SYS_ADMIN, CAP_NET_ADMIN (--caps-retain to decide otherwise)",
  },
  { name: "the default filter", image: [remove("@appc.io/empty")] },
  { name: "the default list", image: [remove("@rkt/default-blacklist", "mkdir")] },
  { name: "everything refused", image: [remove("@appc.io/all")] },
  { name: "rkt's list of allowed calls", image: [retain("@rkt/default-whitelist")] },
  { name: "Docker's", image: [retain("@docker/default-whitelist", "clock_gettime")] },
  ...["ioctl", "socket", "clone", "personality", "socketcall"].map((call) => ({
    name: `the default list, and ${call} whatever its arguments are`,
    image: [retain("@rkt/default-whitelist", call)],
    more: `the system calls ${call} (--seccomp to decide otherwise)`,
  })),
  { name: "a list of ordinary calls", image: [retain("read", "write", "ioctl")] },
  {
    name: "no filter, and a capability",
    image: [retain("@appc.io/all"), caps("CAP_SYS_ADMIN")],
    more: "CAP_SYS_ADMIN; no system call filter, which is as good as root on the host (--caps-retain, --seccomp to decide otherwise)",
  },
  {
    name: "… where root inside is nobody on the host",
    image: [retain("@appc.io/all"), caps("CAP_SYS_ADMIN")],
    privateUsers: true,
    more: "CAP_SYS_ADMIN; no system call filter (--caps-retain, --seccomp to decide otherwise)",
  },
  {
    name: "… where it is the command line that does without the filter",
    image: [caps("CAP_SYS_ADMIN")],
    unprotected: ["seccomp"],
    more: "CAP_SYS_ADMIN, which is as good as root on the host (--caps-retain to decide otherwise)",
  },
  {
    name: "a capability over the host, and the one call for it",
    image: [caps("CAP_SYS_ADMIN"), retain("@rkt/default-whitelist", "open_tree_attr")],
    more: "CAP_SYS_ADMIN; the system calls open_tree_attr, which is as good as root on the host (--caps-retain, --seccomp to decide otherwise)",
  },
  {
    name: "files by their handles",
    image: [caps("CAP_DAC_READ_SEARCH"), remove("mkdir")],
    more: "CAP_DAC_READ_SEARCH; the system calls mount, ptrace, bpf, init_module and 99 more, which is as good as root on the host (--caps-retain, --seccomp to decide otherwise)",
  },
  {
    name: "few calls that are refused by default",
    image: [retain("read", "clone", "unshare", "mount")],
    more: "the system calls mount, clone, unshare, which is as good as root on the host (--seccomp to decide otherwise)",
  },
  {
    name: "a remove-set of its own, in place of the default",
    image: [remove("reboot")],
    more: "the system calls mount, ptrace, bpf, init_module and 98 more, which is as good as root on the host (--seccomp to decide otherwise)",
  },
  {
    name: "what the command line has said otherwise",
    image: [retain("@appc.io/all"), caps("CAP_SYS_ADMIN")],
    asked: [caps("CAP_SYS_ADMIN"), remove("mkdir")],
  },
  {
    name: "what the command line gives anyway",
    image: [retain("@appc.io/all"), caps("CAP_SYS_ADMIN")],
    unprotected: ["seccomp", "capabilities"],
  },
  {
    name: "what --caps-remove leaves of it",
    image: [caps("CAP_SYS_ADMIN")],
    asked: [{ name: "os/linux/capabilities-remove-set", value: { set: ["CAP_CHOWN"] } }],
    more: "CAP_SYS_ADMIN (--caps-retain to decide otherwise)",
  },
];
for (const { name, image, asked = [], unprotected = [], privateUsers = false, more } of cases)
  test(`an image asks for more than the default: ${name}`, () => {
    const app = {
      name: "x",
      image: { id: `sha512-${"0".repeat(128)}` as const, labels: [] },
      app: { ...bareApp(["/x"]), isolators: image },
      readOnlyRootFS: false,
      mounts: [],
      annotations: [],
    };
    const line = `app x: its image asks for more than the default: ${more}`;
    assert.deepEqual(extraPermissions(app, asked, { unprotected, privateUsers }), more === undefined ? [] : [line]);
  });
