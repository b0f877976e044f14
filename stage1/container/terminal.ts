/** Whether this process may use a terminal, by the kernel's rules of job control. */

import { fstatSync, readFileSync } from "node:fs";
import { isTerminal } from "../../shared/syscall/descriptor.ts";

/**
 * Whether a descriptor is a terminal that this process can use without being stopped for it. A process in the background
 * of its controlling terminal gets SIGTTOU as soon as it sets the terminal's mode, and SIGTTIN as soon as it reads
 * (credentials(7), termios(3)).
 */
export function ownsTerminal(fd: number): boolean {
  if (!isTerminal(fd)) return false;
  return isForeground(readFileSync("/proc/self/stat", "latin1"), fstatSync(fd).rdev);
}

/** Pure: from the text of proc_pid_stat(5) and the terminal's device number. A terminal that is not the controlling one stops nobody. */
export function isForeground(stat: string, device: number): boolean {
  // The name, in parentheses, may hold anything.
  const [, , group, , controlling, foreground] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(controlling) !== device || group === foreground;
}
