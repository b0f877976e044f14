import { constants } from "node:os";
import { closeSync } from "node:fs";
import { errorCode } from "./errors.ts";
import { pidfdOpen, pidfdSendSignal } from "./syscall/process.ts";

/**
 * Sends signals to a process if it is the one that is meant. `isMeant` looks at what has the number now. The pidfd
 * names that very process: when it has ended, the signals reach nobody, whoever has its number by then. Says whether
 * the process was there to be told.
 */
export function signalProcess(pid: number, signals: readonly NodeJS.Signals[], isMeant: () => boolean): boolean {
  try {
    const fd = pidfdOpen(pid);
    try {
      if (!isMeant()) return false;
      for (const signal of signals) pidfdSendSignal(fd, constants.signals[signal]);
      return true;
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (errorCode(error) !== "ESRCH") throw error;
    return false;
  }
}
