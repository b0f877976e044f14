/**
 * Finds the user and groups of an app in the texts of its passwd(5) and group(5) files, by the spec's rules (aci.md,
 * "user", "group"). Pure. The files are the image's and not trusted: an invalid line is skipped, as libc does.
 */

import { errorCode, errorText, RktError } from "../shared/errors.ts";
import { ACCOUNT_ANNOTATION, ACCOUNTS, NUMERIC_IDS_ANNOTATION } from "../shared/contract/annotations.ts";
import { LAUNCH_EXIT } from "../shared/contract/stage1-root.ts";
import { annotation } from "../shared/schema/image-manifest.ts";
import type { NameValue } from "../shared/schema/types.ts";

export interface Account {
  uid: number;
  gid: number;
  /** The user's name, if the image has an entry for the uid. */
  name?: string | undefined;
  home: string;
  shell?: string | undefined;
  /** Further groups that the image's /etc/group names for the user; none for a user that is given as a number. */
  groups: number[];
}

/** What the app's root file system says about users and groups. */
export interface AccountSources {
  /** Texts of /etc/passwd and /etc/group; "" for a missing file. */
  passwd: string;
  group: string;
  /** Owner of a file, by its path in the app's root. */
  owner(path: string): { uid: number; gid: number };
}

interface User {
  name: string;
  uid: number;
  /** 0 where the entry has none. */
  gid: number;
  home: string;
  shell: string;
}

/** One less than the highest number: setresuid(2) takes (uid_t)-1 for "no change". */
const MAX_ID = 0xfffffffe;

function parseId(text: string | undefined): number | undefined {
  if (text === undefined || !/^[0-9]+$/.test(text)) return undefined;
  const id = Number(text);
  return id <= MAX_ID ? id : undefined;
}

/** The fields of each line of a passwd or group file. A line with a NUL is skipped: execve(2) could not pass it on. */
function* entries(text: string): Generator<string[]> {
  for (const line of text.split("\n")) {
    const fields = line.split(":");
    if (fields.length >= 3 && fields[0] !== "" && !line.startsWith("#") && !line.includes("\0")) yield fields;
  }
}

/** Of images that have no entry for user 0, as systemd has it (nss-systemd(8)). */
const ROOT: User = { name: "root", uid: 0, gid: 0, home: "/root", shell: "/bin/sh" };

/** The first user that fits, as libc's getpwnam and getpwuid find it. */
function findUser(passwd: string, fits: (user: User) => boolean): User | undefined {
  for (const [name = "", , id, primary, , home, shell] of entries(passwd)) {
    const uid = parseId(id);
    if (uid === undefined) continue;
    const user = { name, uid, gid: parseId(primary) ?? 0, home: home || "/", shell: shell || "/bin/sh" };
    if (fits(user)) return user;
  }
  return undefined;
}

function findGroup(group: string, wanted: string): number | undefined {
  for (const [name, , id] of entries(group)) {
    const gid = parseId(id);
    if (name === wanted && gid !== undefined) return gid;
  }
  return undefined;
}

export interface AskedAccount {
  user: string;
  group: string;
  /** Which of the two are numbers, even if the image has a user or group with such a name. */
  numeric?: readonly ("user" | "group")[];
  /** "own": the user's own group in place of `group`. "given": no further groups. */
  account?: AccountKind | undefined;
}

export type AccountKind = (typeof ACCOUNTS)[number];

/** An app's ACCOUNT_ANNOTATION; stage 0 writes no other value. */
export function accountKind(annotations: readonly NameValue[]): AccountKind | undefined {
  const value = annotation(annotations, ACCOUNT_ANNOTATION);
  return ACCOUNTS.find((kind) => kind === value);
}

/** Which of an app's user and group are numbers: its NUMERIC_IDS_ANNOTATION. */
export function numericIds(annotations: readonly NameValue[]): ("user" | "group")[] {
  const words = annotation(annotations, NUMERIC_IDS_ANNOTATION)?.split(",") ?? [];
  return (["user", "group"] as const).filter((word) => words.includes(word));
}

/**
 * Resolves the user and group of an app. Each is a name from the image's files, else a number, or a path, which stands
 * for the owner of that file. Root needs no entry, so that images without /etc/passwd run. Throws "unknown-user" and
 * "unknown-group".
 */
export function resolveAccount(app: AskedAccount, sources: AccountSources): Account {
  const [isUid, isGid] = [app.numeric?.includes("user") === true, app.numeric?.includes("group") === true];
  const { uid, entry } = resolveUser(app.user, isUid, sources);
  const own = app.account === "own";
  const gid = own ? (entry?.gid ?? 0) : resolveGid(app.group, isGid, sources);
  const named = entry !== undefined && (own || (!isUid && entry.name === app.user && app.account !== "given"));
  const groups = named ? groupsOf(sources.group, entry.name, gid) : [];
  return { uid, gid, name: entry?.name, home: entry?.home ?? "/", shell: entry?.shell, groups };
}

/** As initgroups(3). Whoever gives a number asks for that number alone, other than in the configuration of an OCI image. */
function groupsOf(group: string, user: string, except: number): number[] {
  const gids = new Set<number>();
  for (const [, , id, members = ""] of entries(group)) {
    const gid = parseId(id);
    if (gid !== undefined && gid !== except && members.split(",").includes(user)) gids.add(gid);
  }
  return [...gids];
}

function resolveUser(
  user: string,
  isUid: boolean,
  { passwd, owner }: AccountSources,
): { uid: number; entry: User | undefined } {
  const byUid = (uid: number) => ({
    uid,
    entry: findUser(passwd, (u) => u.uid === uid) ?? (uid === ROOT.uid ? ROOT : undefined),
  });
  if (user.startsWith("/")) return byUid(ownerOf(user, "user", owner).uid);
  // Two names may share a uid, so the name is looked up first.
  const entry = isUid ? undefined : findUser(passwd, ({ name }) => name === user);
  if (entry !== undefined) return { uid: entry.uid, entry };
  const uid = parseId(user) ?? (user === "root" ? 0 : undefined);
  if (uid !== undefined) return byUid(uid);
  throw new RktError("unknown-user", `user "${user}" is ${isUid ? NO_ID : "not in the image's /etc/passwd"}`, {
    exitCode: LAUNCH_EXIT.user,
  });
}

const NO_ID = `a number above ${MAX_ID}, the highest there can be`;

function resolveGid(group: string, isGid: boolean, sources: AccountSources): number {
  if (group.startsWith("/")) return ownerOf(group, "group", sources.owner).gid;
  const named = isGid ? undefined : findGroup(sources.group, group);
  const gid = named ?? parseId(group) ?? (group === "root" ? 0 : undefined);
  if (gid !== undefined) return gid;
  throw new RktError("unknown-group", `group "${group}" is ${isGid ? NO_ID : "not in the image's /etc/group"}`, {
    exitCode: LAUNCH_EXIT.group,
  });
}

function ownerOf(path: string, what: "user" | "group", owner: AccountSources["owner"]): { uid: number; gid: number } {
  try {
    return owner(path);
  } catch (error) {
    const reason = errorCode(error) === "ENOENT" ? "it does not exist in the image" : errorText(error);
    throw new RktError(`unknown-${what}`, `cannot take the ${what} from the owner of ${path}: ${reason}`, {
      exitCode: LAUNCH_EXIT[what],
      cause: error,
    });
  }
}
