/**
 * What the spec's own parser (`actool validate`, 0.8.11) and ours make of the same manifests: equal, or different for a
 * reason that docs/extend/conformance.md gives ("Against actool"), kind by kind.
 *
 * The one of the two that refuses says why, and from that the kind is known. So a new disagreement is either of no
 * kind, or changes the number of a kind.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { manifestSamples, type Sample } from "../../test/fixtures/manifest-values.ts";
import { actoolRefusals } from "../../test/helpers/actool.ts";
import { requires } from "../../test/helpers/rkt.ts";
import { parseImageManifest } from "./image-manifest.ts";
import { understandIsolators } from "./isolators.ts";
import { ManifestError } from "./manifest-error.ts";
import { parsePodTemplate } from "./pod-manifest.ts";

/** What we say against a manifest; undefined when we take it. */
function rktRefusal({ at, text }: Sample): readonly string[] | undefined {
  const object = "manifest";
  try {
    if (at.startsWith("pod ") || text.includes("PodManifest")) {
      const { apps, isolators } = parsePodTemplate(text, { object });
      understandIsolators(isolators, { object, path: "isolators" });
      for (const { app } of apps) understandIsolators(app?.isolators ?? [], { object, path: "app.isolators" });
    } else {
      const { app } = parseImageManifest(text, { object });
      understandIsolators(app?.isolators ?? [], { object, path: "app.isolators" });
    }
    return undefined;
  } catch (error) {
    assert.ok(error instanceof ManifestError, `${at}: ${error}`);
    return error.errors;
  }
}

interface Kind {
  /** As in docs/extend/conformance.md, as is the reason. */
  name: string;
  why: string;
  /** What the one that refuses says. */
  refusal: RegExp;
  /** So many of the samples. */
  samples: number;
}

/** actool takes what rkt refuses. */
const STRICTER: readonly Kind[] = [
  {
    name: "names with `//`, `/./`, `/../`",
    why: "safety: a name becomes a path and a URL",
    refusal: /must not have empty, "\." or "\.\." path components/,
    samples: 15,
  },
  {
    name: "names of more than 1,024 characters",
    why: "safety: a name becomes a path and a URL",
    refusal: /must have at most 1024 characters/,
    samples: 15,
  },
  {
    name: "an acVersion of 2.0.0 and above",
    why: "the spec: a series that may mean something else by the same words",
    refusal: /acVersion: must be 0\.x or 1\.x/,
    samples: 2,
  },
  {
    name: "versions with an empty last part (`0.8.11-`)",
    why: "Semantic Versioning has none",
    refusal: /acVersion: must be a semantic version/,
    samples: 4,
  },
  {
    name: "a member given twice",
    why: "safety: two readers understand two things",
    refusal: /is given twice/,
    samples: 242,
  },
  {
    name: "a member that the spec requires, missing or null; null in a list",
    why: "the spec; Go makes an empty text of it, or a 0",
    refusal: /: is required(?: where there is no id)?$|must be an object, got null$/,
    samples: 84,
  },
  {
    name: "relative paths of mount points, mounts, whitelists",
    why: "the spec wants them absolute: nobody knows what a relative one begins at",
    refusal: /must be absolute/,
    samples: 61,
  },
  {
    name: "paths with `..`",
    why: "safety: one place has two spellings",
    refusal: /must not have "\.\." components/,
    samples: 6,
  },
  {
    name: "control characters in paths, accounts, values of sysctl",
    why: "safety: units, logs and terminals read them as their own",
    refusal: /must not contain control characters/,
    samples: 21,
  },
  {
    name: "paths of more than 4,095 bytes, arguments of more than 131,071",
    why: "Linux takes none",
    refusal: /must not be longer than/,
    samples: 7,
  },
  {
    name: "U+0000 in a text",
    why: "safety: for the kernel the text ends there",
    refusal: /must not contain U\+0000/,
    samples: 35,
  },
  {
    name: "halves of surrogate pairs",
    why: "safety: Go makes U+FFFD of each, so that two texts are one",
    refusal: /must not contain half of a surrogate pair/,
    samples: 36,
  },
  {
    name: "numbers that a double cannot hold, anywhere",
    why: "safety: two readers understand two things",
    refusal: /is a number too large to be exact/,
    samples: 39,
  },
  {
    name: "more than 64 levels, 10,000 objects and lists, 4 MiB",
    why: "safety: a stranger's manifest takes memory of root's process",
    refusal: /must not be (?:nested deeper|the \d+th object|larger than)/,
    samples: 4,
  },
  {
    name: "quantities without a digit (`.`, `+`)",
    why: "no number; Go takes them for 0",
    refusal: /must be an amount like .* got "[.+-]"$/,
    samples: 21,
  },
  {
    name: "quantities of 2^63 units and more",
    why: "the kernel takes none; Go makes 2^63-1 of them",
    refusal: /must be an amount like .* got (?!"[.+-]"$)/,
    samples: 66,
  },
  {
    name: "quantities below 0",
    why: "nothing of the kind can be enforced",
    refusal: /\.value\.(?:limit|request): must not be negative/,
    samples: 20,
  },
  {
    name: "a request above its limit",
    why: "nothing of the kind can be enforced",
    refusal: /must not be more than the limit/,
    samples: 16,
  },
  {
    name: "a limit of the processor below 1m that is not 0",
    why: "nothing less can be enforced, and the kernel would raise it in silence",
    refusal: /must be at least 1m/,
    samples: 5,
  },
  {
    name: "names of capabilities, system calls and errors that do not exist",
    why: "safety: an app would have less protection than its image says",
    refusal: /must be (?:a capability|a system call|an error name)/,
    samples: 83,
  },
  { name: "a remove-set with `execve`", why: "no app would start", refusal: /must not have execve/, samples: 1 },
  {
    name: "a second isolator of a kind that rkt enforces",
    why: "safety: neither of the two may be dropped in silence",
    refusal: /must not be a second/,
    samples: 7,
  },
  {
    name: "white space in parts of an SELinux context",
    why: "no context has any",
    refusal: /must be a word/,
    samples: 16,
  },
  {
    name: "names of sysctl that have no two parts, or others than letters, digits, `_` and `-`",
    why: "safety: a name becomes a path below /proc/sys",
    refusal: /must have a name like/,
    samples: 12,
  },
  {
    name: "IDs of images that are short, long, or not lower-case hex digits",
    why: "safety: an ID becomes a path, and pins an image",
    refusal: /must be "sha512-" and 32 to 128/,
    samples: 12,
  },
  {
    name: "times that RFC 3339 does not have",
    why: "the spec; Go's parser is lenient",
    refusal: /must be an RFC 3339 time/,
    samples: 3,
  },
  {
    name: "modes that are not octal, or above 7777",
    why: "nothing of the kind can be set",
    refusal: /must be an octal mode/,
    samples: 30,
  },
  {
    name: "users and groups below 0 or above 4294967294",
    why: "nothing of the kind can be set",
    refusal: /must be an integer from 0 to 4294967294/,
    samples: 13,
  },
  {
    name: "a `hostPort` that is 0 or above 65535",
    why: "nothing can be published there",
    refusal: /hostPort: must be an integer from 1 to 65535/,
    samples: 3,
  },
  { name: "a `hostIP` of IPv6", why: "nothing can be published there", refusal: /must be an IPv4 address/, samples: 3 },
];

/** rkt takes what actool refuses. */
const LAXER: readonly Kind[] = [
  {
    name: "unknown isolators",
    why: "the spec: an executor may ignore them, and rkt says so",
    refusal: /invalid isolator/,
    samples: 83,
  },
  {
    name: "`exec` as a text",
    why: "people wrote it; it is split at white space, and refused where a shell would be needed",
    refusal: /Go struct field .* of type types\.exec/,
    samples: 21,
  },
  {
    name: "annotations and environments that are objects",
    why: "versions before 0.2.0 and 0.3.0, whose tools wrote any acVersion",
    refusal: /cannot unmarshal object into .* of type types\.(?:annotations|environment)/,
    samples: 12,
  },
  {
    name: "kinds, members and IDs of before 0.6.0 (`AppManifest`, `app` of a dependency, SHA-256)",
    why: "versions whose tools wrote any acVersion",
    refusal:
      /bad ACKind: (?:AppManifest|AppImageManifest|FilesetManifest|ContainerRuntimeManifest)|imageName cannot be empty|unrecognized hash type: sha256/,
    samples: 7,
  },
  {
    name: "platforms in no list of actool's (`x86_64`, `plan9`)",
    why: "an image can be listed and copied that can't run here",
    refusal: /bad (?:os|arch) "/,
    samples: 15,
  },
  {
    name: "malformed URLs of `homepage` and `documentation`",
    why: "they are texts that nobody opens; an image runs without",
    refusal: /bad URL: parse/,
    samples: 14,
  },
  {
    name: "quantities in `K`",
    why: "the prose of the spec writes `K`",
    refusal: /unable to parse quantity's suffix/,
    samples: 7,
  },
  {
    name: "whole numbers that are written as `1.0` or `1e2`",
    why: "JSON has one type of number, and these are whole",
    refusal: /cannot unmarshal number \S+ into .* of type u?int$/,
    samples: 31,
  },
  {
    name: "an image's `id` that is null beside its name",
    why: "null is the same as absent, as it is everywhere else",
    refusal: /badly formatted hash string/,
    samples: 1,
  },
];

interface Verdict extends Sample {
  rkt: readonly string[] | undefined;
  actool: string | undefined;
}

function kindsOf(kinds: readonly Kind[], { at, text }: Sample, problems: readonly string[]): Set<Kind> {
  return new Set(
    problems.map((problem) => {
      const matching = kinds.filter(({ refusal }) => refusal.test(problem));
      const [kind] = matching;
      assert.ok(
        kind !== undefined && matching.length === 1,
        `${at}: of ${matching.length} kinds: ${problem}\n${text.slice(0, 3000)}`,
      );
      return kind;
    }),
  );
}

const samples = manifestSamples();

test(`against actool: ${samples.length} manifests are taken, or refused, by both; or differ in a way that is listed`, (t) => {
  if (!requires(t, "actool")) return;
  assert.ok(samples.length > 771);
  const refusals = actoolRefusals(samples.map(({ text }) => text));
  const verdicts = samples.map((sample, i): Verdict => ({ ...sample, rkt: rktRefusal(sample), actool: refusals[i] }));
  const counts = new Map([...STRICTER, ...LAXER].map((kind) => [kind, 0]));
  for (const verdict of verdicts) {
    const { rkt, actool } = verdict;
    if ((rkt === undefined) === (actool === undefined)) continue;
    const kinds = rkt === undefined ? kindsOf(LAXER, verdict, [actool ?? ""]) : kindsOf(STRICTER, verdict, rkt);
    for (const kind of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  const listed = [...counts.keys()].map(({ name, samples }) => `${name}: ${samples}`);
  assert.deepEqual(
    [...counts].map(([{ name }, count]) => `${name}: ${count}`),
    listed,
  );
  const agreed = (taken: boolean) =>
    verdicts.filter(({ rkt, actool }) => (rkt === undefined) === taken && (actool === undefined) === taken).length;
  t.diagnostic(`${agreed(true)} are taken by both, ${agreed(false)} refused by both`);
});

/** The cells of the rows of a table of the page, the first row of which begins with `kind`, in order. */
function tables(page: string): string[][][] {
  return page
    .split(/^\| kind .*\n\|[ -|]*\n/m)
    .slice(1)
    .map(
      (table) =>
        table
          .split(/\n(?!\|)/)[0]
          ?.split("\n")
          .map((row) =>
            row
              .split(/(?<!\\)\|/)
              .slice(1, -1)
              .map((cell) => cell.trim().replaceAll("\\|", "|")),
          ) ?? [],
    );
}

test("against actool: docs/extend/conformance.md lists the kinds and the reasons", () => {
  const page = readFileSync(new URL("../../docs/extend/conformance.md", import.meta.url), "utf8");
  const section = page.slice(page.indexOf("## Against actool"), page.indexOf("## Earlier versions"));
  const rows = (kinds: readonly Kind[]) => kinds.map(({ name, why }) => [name, why]);
  assert.deepEqual(tables(section), [rows(STRICTER), rows(LAXER)]);
});
