/** What capabilities a container has beyond those that systemd-nspawn gives it. Pure. */

import { understandIsolators } from "../../shared/schema/isolators.ts";
import type { PodManifest } from "../../shared/schema/types.ts";

const NET_ADMIN = "CAP_NET_ADMIN";

/**
 * CAP_NET_ADMIN, when an app retains it and the network is the container's
 * own: on the host's it is for nobody. Where a link has its other end in the
 * host's network, the kernel lets the capability reach over there
 * (docs/operate/security.md, "What an image may ask for"). A container with users of
 * its own has a network whose owner is the host's root, and the capability no
 * meaning there. Any other that nspawn does not give is the host's: the
 * launcher tells whoever asks for it.
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
