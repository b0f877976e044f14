import { RktError } from "../../shared/errors.ts";
import { shortId } from "../../shared/contract/image-ids.ts";
import { type Command, readLine } from "../cli/command.ts";
import { jsonForm } from "../cli/options.ts";
import type { VerifiedLayers } from "../store/verify-images.ts";
import type { Damage } from "../container/verify-store.ts";
import { sayWaiting } from "../request/stored-image.ts";
import { jsonText, print } from "../terminal/output.ts";
import { formatOption } from "./json-options.ts";

const options = formatOption("text");

/** An image, or a blob that is none and has no name. */
interface Verdict {
  id: string;
  name?: string;
  damages: Damage[];
}

export const command: Command = {
  usage: "image verify [options] [IMAGE...]",
  description: `Checks images, or all there are: hashes their blobs again, and compares what was rendered of them with what they give now. Reads everything; prints a line for each image and each damage.

A rendered tree that is damaged is made again, unless a container stands on it: that container is named. A damaged blob stays as it is, until the image is fetched again. The exit status is 0 if nothing is damaged any more, and 254 if something is.`,
  examples: [
    ["rkt image verify", "the whole store"],
    ["rkt image verify --format=json example.com/etcd", "one image, for a program"],
  ],
  options,
  operands: [0, Number.POSITIVE_INFINITY],
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = readLine(line, options);
    const json = jsonForm(given);
    const { openStore } = await import("../store/store.ts");
    const { findStored } = await import("../fetch/find-stored.ts");
    const { verifyImage } = await import("../container/verify-store.ts");
    const store = openStore(globals.dir);
    const layers: VerifiedLayers = { blobs: new Map(), trees: new Map() };
    const verdicts: Verdict[] = [];
    const found = (verdict: Verdict) => {
      verdicts.push(verdict);
      if (json === undefined) print(lines(verdict));
    };
    try {
      if (operands.length === 0)
        for (const key of store.adopt())
          found({ id: key, damages: [{ what: "its blob is no image of that hash", remade: false, containers: [] }] });
      const images =
        operands.length === 0 ? store.list() : operands.map((text) => findStored(text, store, { several: "best" }));
      for (const image of images) {
        const damages = await verifyImage(image, { data: globals.dir, store, layers, wait: () => sayWaiting(globals) });
        if (damages !== undefined) found({ id: image.id, name: image.name, damages });
      }
    } finally {
      store.close();
    }
    if (json !== undefined) print(jsonText(verdicts.map(imageJson), json.pretty));
    const left = verdicts.flatMap(({ damages }) => damages).filter(({ remade }) => !remade);
    if (left.length > 0)
      throw new RktError("damaged-store", `${left.length} ${left.length === 1 ? "damage" : "damages"} in the store`, {
        hint: wayOut(left),
      });
  },
};

function lines({ id, name, damages }: Verdict): string {
  const image = name === undefined ? shortId(id) : `${shortId(id)} ${name}`;
  if (damages.length === 0) return `good    ${image}\n`;
  return damages.map((damage) => `${damage.remade ? "remade " : "damaged"} ${image}: ${description(damage)}\n`).join("");
}

function description({ what, containers: [first, ...others] }: Damage): string {
  if (first === undefined) return what;
  const more = others.length > 0 ? `, and ${others.length} more` : "";
  return `${what}; container ${first.uuid}, ${first.phase}, stands on it${more}`;
}

function imageJson({ id, name, damages }: Verdict): object {
  const state = damages.length === 0 ? "good" : damages.every(({ remade }) => remade) ? "remade" : "damaged";
  return { id, ...(name === undefined ? {} : { name }), state, damages: damages.map(damageJson) };
}

const damageJson = ({ what, tree, remade, containers }: Damage): object => ({
  ...(tree === undefined ? {} : { tree }),
  ...{ what, remade },
  ...(containers.length === 0 ? {} : { containers: containers.map(({ uuid }) => uuid) }),
});

function wayOut(left: readonly Damage[]): string {
  const [first, ...others] = new Map(left.flatMap(({ containers }) => containers).map((use) => [use.uuid, use])).values();
  const more = others.length > 0 ? " and so on" : "";
  const stop = first?.phase === "running" ? `rkt stop ${first.uuid}; ` : "";
  return [
    left.some(({ tree }) => tree === undefined) ? "`rkt fetch` the image again, from where it came" : "",
    first === undefined ? "" : `\`${stop}rkt rm ${first.uuid}\`${more}, then \`rkt image verify\` makes the tree again`,
    left.some(({ tree, containers }) => tree !== undefined && containers.length === 0)
      ? "`rkt image gc --grace-period=0` removes trees, which are made again"
      : "",
  ]
    .filter((part) => part !== "")
    .join("; ");
}
