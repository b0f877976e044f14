import { constants } from "node:os";
import { closeSync } from "node:fs";
import { errorCode } from "./errors.ts";
import { pidfdOpen, pidfdSendSignal } from "./syscall/process.ts";

/**
 * Sends signals to a process, if it is the intended one: `isMeant` checks the process that has the pid now. The pidfd
 * stays with that process: if it ends, no other process gets the signals, even one with the same pid. Returns whether
 * they were sent.
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
