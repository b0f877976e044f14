/**
 * What a registry asks for when it answers 401: the header WWW-Authenticate,
 * strictly read. Pure.
 *
 * Sources: RFC 9110 11.6.1, RFC 6750 3; distribution, docs "Token Authentication Specification".
 */

export interface Challenge {
  /** Lower-case: "bearer", "basic". */
  scheme: string;
  parameters: ReadonlyMap<string, string>;
}

const MAX_HEADER = 8192;
const SPACE = /[ \t]*/y;
const TOKEN = /[A-Za-z0-9!#$%&'*+.^_`|~-]+/y;
const QUOTED = /"((?:[^"\\\u0000-\u001f\u007f]|\\[\u0020-\u007e])*)"/y;

/** The challenges of the header, in order; what can't be read ends the list. */
export function parseChallenges(header: string): Challenge[] {
  const found: Challenge[] = [];
  if (header.length > MAX_HEADER) return found;
  let at = 0;
  const take = (what: RegExp): string | undefined => {
    what.lastIndex = at;
    const match = what.exec(header);
    if (match === null) return undefined;
    at = what.lastIndex;
    return match[1] ?? match[0];
  };
  const skip = () => void take(SPACE);
  /** `name=value`; leaves `at` where it is if none is there. */
  const parameter = (): [string, string] | undefined => {
    const start = at;
    const name = take(TOKEN);
    skip();
    if (name !== undefined && header[at] === "=") {
      at++;
      skip();
      const value = header[at] === '"' ? take(QUOTED)?.replace(/\\(.)/g, "$1") : take(TOKEN);
      if (value !== undefined) return [name.toLowerCase(), value];
    }
    at = start;
    return undefined;
  };

  for (;;) {
    skip();
    const scheme = take(TOKEN)?.toLowerCase();
    if (scheme === undefined) return found;
    const parameters = new Map<string, string>();
    found.push({ scheme, parameters });
    for (let first = true; ; first = false) {
      skip();
      const before = at;
      if (!first) {
        if (header[at] !== ",") break;
        at++;
        skip();
      }
      const pair = parameter();
      if (pair === undefined) {
        // After a comma the next challenge may begin.
        if (first && header[before] === ",") at = before + 1;
        break;
      }
      // Two values could be understood in two ways.
      if (parameters.has(pair[0])) return found.slice(0, -1);
      parameters.set(...pair);
    }
  }
}
