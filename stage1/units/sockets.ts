/**
 * Units for the ports of an app that systemd listens on (aci.md, "socketActivated"). Each port has a socket unit: the
 * container's systemd opens it before the app starts, and passes the descriptors on (sd_listen_fds(3)), named as the
 * port. Pure.
 *
 * The app starts at once and does not wait for a client: a container lives as long as its apps do.
 */

import { execLine, type UnitOption, writeUnit } from "systemd-unit-writer";
import { STAGE1 } from "../../shared/contract/stage1-root.ts";
import { ALIVE_UNIT, APP_UNIT } from "../../shared/contract/units.ts";
import { isSocketOf, type PassedSocket } from "../../shared/passed-sockets.ts";
import type { Port, RuntimeApp } from "../../shared/schema/types.ts";
import { FAILURE } from "./failure.ts";

const activated = ({ app }: RuntimeApp): Port[] => app?.ports.filter((port) => port.socketActivated) ?? [];

/** No app's unit has this name: an app's name has no dot (types.md, AC Name). */
const socketUnit = (app: string, port: Port): string => `${APP_UNIT.prefix}${app}.${port.name}.socket`;

export function socketUnits(
  app: RuntimeApp,
  service: string,
  passed: readonly PassedSocket[] = [],
): { name: string; text: string }[] {
  return activated(app).map((port) => ({
    name: socketUnit(app.name, port),
    text: writeUnit([
      ["Unit", "Description", `Port ${port.name} of application ${app.name}`],
      ["Unit", "DefaultDependencies", "no"],
      ["Unit", "After", ALIVE_UNIT],
      ["Unit", "Conflicts", "exit.target"],
      // A client that is still waiting when the app has ended does not start it again.
      ["Unit", "BindsTo", service],
      ...FAILURE,
      ...listen(port, passed),
      ["Socket", "BindIPv6Only", "both"],
      ["Socket", "FileDescriptorName", port.name],
      ["Socket", "Service", service],
      ["Socket", "ExecStopPost", execLine([STAGE1.noSocket, app.name, port.name])],
    ]),
  }));
}

/**
 * Stage 0 lets no other protocol pass. systemd takes a socket that it was started with for the unit whose address is that
 * socket's own, to the letter.
 */
function listen(asked: Port, passed: readonly PassedSocket[]): UnitOption[] {
  const { protocol, port, count } = asked;
  const kind = protocol === "udp" ? "ListenDatagram" : "ListenStream";
  const own = passed.filter((socket) => isSocketOf(socket, asked));
  return Array.from({ length: count }, (_, i) => port + i).flatMap((number) => {
    const there = own.filter((socket) => socket.port === number).map(({ address }) => address);
    return (there.length > 0 ? there : [String(number)]).map((address): UnitOption => ["Socket", kind, address]);
  });
}

/**
 * systemd looks for the units of sockets that it was started with among those that it has loaded, and that is before it
 * loads what it is to start. The slice is there from the first, and loads what its drop-in names.
 */
export function earlySockets(apps: readonly RuntimeApp[], passed: readonly PassedSocket[]): { name: string; text: string }[] {
  const units = apps.flatMap((app) =>
    activated(app)
      .filter((port) => passed.some((socket) => isSocketOf(socket, port)))
      .map((port) => socketUnit(app.name, port)),
  );
  if (units.length === 0) return [];
  return [{ name: "system.slice.d/passed-sockets.conf", text: writeUnit([["Unit", "Before", units.join(" ")]]) }];
}

/** Options of the app's own unit: it starts after its sockets, and only once. */
export function socketDependencies(app: RuntimeApp): UnitOption[] {
  const sockets = activated(app).map((port) => socketUnit(app.name, port));
  if (sockets.length === 0) return [];
  return [
    ["Unit", "Requires", sockets.join(" ")],
    ["Unit", "After", sockets.join(" ")],
    // A client that connects after the app's end does not start it again.
    ["Unit", "StartLimitIntervalSec", "infinity"],
    ["Unit", "StartLimitBurst", "1"],
  ];
}
