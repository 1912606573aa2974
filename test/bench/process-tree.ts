/** What a server's processes use, its children included: /proc, Linux only. CPU counts in ticks of 10 ms. */
import { readdirSync, readFileSync } from 'node:fs';

const TICK_MS = 10;
const SAMPLE_MS = 50;

interface ProcessRow {
  readonly parent: number;
  /** User and system time, of ended children too. */
  readonly ticks: number;
}

function readProcess(pid: number): ProcessRow | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in brackets may hold blanks: fields are counted from behind it, the first being the state (field 3 of proc(5)).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const ticks = [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at]), 0);
    return { parent: Number(fields[1]), ticks };
  } catch {
    return undefined;
  }
}

function treeOf(root: number): Map<number, ProcessRow> {
  const rows = new Map<number, ProcessRow>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const row = readProcess(Number(name));
    if (row !== undefined) rows.set(Number(name), row);
  }
  const tree = new Map<number, ProcessRow>();
  const visit = (pid: number): void => {
    const row = rows.get(pid);
    if (row === undefined) return;
    tree.set(pid, row);
    for (const [child, { parent }] of rows) if (parent === pid) visit(child);
  };
  visit(root);
  return tree;
}

export function cpuMs(root: number): number {
  let ticks = 0;
  for (const row of treeOf(root).values()) ticks += row.ticks;
  return ticks * TICK_MS;
}

export interface ThreadTime {
  readonly ranMs: number;
  /** Ready to run, while others had the processors. */
  readonly waitedMs: number;
}

/** Of a process's main thread, to the nanosecond: what a server does between two requests is not rounded to ticks (schedstat of proc(5)). */
export function mainThread(pid: number): ThreadTime {
  const [ran = 0, waited = 0] = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'latin1').split(' ').map(Number);
  return { ranMs: ran / 1e6, waitedMs: waited / 1e6 };
}

/** Of all its threads. */
export function ranMs(pid: number): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]);
    } catch {
      // It ended in between.
    }
  }
  return nanoseconds / 1e6;
}

function residentMb(pids: Iterable<number>): number {
  let kilobytes = 0;
  for (const pid of pids) {
    try {
      kilobytes += Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0);
    } catch {
      // It ended in between.
    }
  }
  return kilobytes / 1024;
}

/** Waits until the tree has used less than three ticks in a second; answers how long that took. */
export async function untilIdle(root: number, longestMs = 15_000): Promise<number> {
  const begin = Date.now();
  for (let before = cpuMs(root); Date.now() - begin < longestMs;) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const now = cpuMs(root);
    if (now - before < 3 * TICK_MS) break;
    before = now;
  }
  return Date.now() - begin;
}

export interface Usage<Result> {
  readonly result: Result;
  readonly wallMs: number;
  /** Until the process was idle again, where that was waited for: work in the background counts. */
  readonly cpuMs: number;
  readonly peakMb: number;
}

/** Reading leaves nothing to do behind it: waiting would only add what the process uses by itself each second. */
export async function measure<Result>(
  root: number,
  work: () => Promise<Result>,
  { leavesWork = true } = {},
): Promise<Usage<Result>> {
  await untilIdle(root);
  const pids = [...treeOf(root).keys()];
  let peakMb = residentMb(pids);
  const sampler = setInterval(() => (peakMb = Math.max(peakMb, residentMb(pids))), SAMPLE_MS);
  const before = cpuMs(root);
  const begin = performance.now();
  try {
    const result = await work();
    const wallMs = performance.now() - begin;
    if (leavesWork) await untilIdle(root);
    return { result, wallMs, cpuMs: cpuMs(root) - before, peakMb };
  } finally {
    clearInterval(sampler);
  }
}
