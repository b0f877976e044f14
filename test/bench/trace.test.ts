import assert from "node:assert/strict";
import { test } from "node:test";
import { parseTrace, processes, stages } from "./trace.ts";

/** As trace-cmd(1) and the file `trace` show it. */
const TRACE = `# tracer: nop
            node-99      [000] .....    0.990000: sched_process_fork: comm=node pid=99 child_comm=node child_pid=100
            node-100     [001] .....    1.000000: sched_process_exec: filename=/x/dist/rkt pid=100 old_pid=100
            sshd-7       [001] .....    1.001000: sched_process_exec: filename=/bin/other pid=7 old_pid=7
             rkt-100     [001] .....    1.010000: sched_process_exit: comm=libuv pid=100 prio=120 group_dead=false
             rkt-100     [001] .....    1.050000: sched_process_exec: filename=stage1/rootfs/init pid=100 old_pid=100
            init-100     [001] .....    1.060000: sched_process_fork: comm=init pid=100 child_comm=init child_pid=101
            init-100     [001] .....    1.080000: sched_process_exec: filename=stage1/rootfs/usr/lib/ld-linux-x86-64.so.2 pid=100 old_pid=100
          nspawn-101     [000] .....    1.100000: sched_process_exec: filename=/usr/lib/rkt/pid1 pid=101 old_pid=101
            pid1-101     [000] .....    1.103000: sched_process_exec: filename=/usr/lib/systemd/systemd pid=101 old_pid=101
         systemd-101     [000] .....    1.120000: sched_process_fork: comm=systemd pid=101 child_comm=systemd child_pid=102
         systemd-102     [000] .....    1.130000: sched_process_exec: filename=/usr/lib/rkt/launcher pid=102 old_pid=102
        launcher-102     [000] .....    1.170000: sched_process_exec: filename=/proc/self/fd/20 pid=102 old_pid=102
              20-102     [000] .....    1.171000: sched_process_exec: filename=/bin/true pid=102 old_pid=102
            true-102     [000] .....    1.172000: sched_process_exit: comm=true pid=102 prio=120 group_dead=true
         systemd-101     [000] .....    1.190000: sched_process_exit: comm=systemd pid=101 prio=120 group_dead=true
          nspawn-100     [000] .....    1.200000: sched_process_exit: comm=ld-linux pid=100 prio=120 group_dead=true
`;

const shown = (spans: readonly { from: number; to: number }[]) =>
  spans.map(({ from, to, ...rest }) => ({ ...rest, ms: Math.round((to - from) * 1000) }));

test("a trace is cut into the stages of a run", () => {
  assert.deepEqual(shown(stages(parseTrace(TRACE, 100))), [
    { name: "stage 0: rkt", ms: 50 },
    { name: "stage 1: init", ms: 30 },
    { name: "systemd-nspawn, to its first process", ms: 20 },
    { name: "pid1", ms: 3 },
    { name: "systemd, to the launcher", ms: 27 },
    { name: "stage 2: launcher, to the app", ms: 41 },
    { name: "the app", ms: 1 },
    { name: "the end", ms: 28 },
  ]);
});

test("a trace names each program of the run, and none of other processes", () => {
  const rows = shown(processes(parseTrace(TRACE, 100))) as { program?: string; pid?: number; ms: number }[];
  assert.deepEqual(
    rows.map(({ program, pid, ms }) => `${pid} ${program} ${ms}`),
    [
      "100 /x/dist/rkt 50",
      "100 stage1/rootfs/init 30",
      "100 stage1/rootfs/usr/lib/ld-linux-x86-64.so.2 120",
      "101 /usr/lib/rkt/pid1 3",
      "101 /usr/lib/systemd/systemd 87",
      "102 /usr/lib/rkt/launcher 40",
      "102 /proc/self/fd/20 1",
      "102 /bin/true 1",
    ],
  );
});
