/** The capabilities that a container gets in addition to systemd-nspawn's defaults. Pure. */

import { understandIsolators } from "../../shared/schema/isolators.ts";
import type { PodManifest } from "../../shared/schema/types.ts";

const NET_ADMIN = "CAP_NET_ADMIN";

/**
 * CAP_NET_ADMIN, if an app retains it and the container has its own network. No app gets it in the host's network.
 * Beware: it also reaches the other end of a link, in the host's network (docs/operate/security.md, "What an image may
 * ask for"). A container with its own users does not get it: the host's root owns its network, so it would have no
 * effect. All others that nspawn does not give are the host's alone; the launcher reports an app that asks for one.
 */
export function furtherCapabilities(
  { apps }: PodManifest,
  { ownNetwork, ownUsers }: { ownNetwork: boolean; ownUsers: boolean },
): string[] {
  if (!ownNetwork || ownUsers) return [];
  const asked = apps.some(({ app }, i) => {
    const where = { object: "container manifest", path: `apps[${i}].app.isolators` };
    return understandIsolators(app?.isolators ?? [], where).known["os/linux/capabilities-retain-set"]?.includes(
      NET_ADMIN,
    );
  });
  return asked ? [NET_ADMIN] : [];
}
