/** What a process holds in memory and has held at most, as the kernel counts it; undefined where it does not tell (other systems than Linux). */
import { readFileSync, writeFileSync } from 'node:fs';

/** MB; undefined also for a process that is gone. */
export function residentMb(pid: number | undefined): number | undefined {
  return kernelMb(pid, 'VmRSS');
}

/** Begins to watch this process; the function tells how many MB more than now it has held at most since. */
export function watchPeak(): () => number | undefined {
  try {
    // proc(5): 5 sets the peak resident set size back to what is resident now.
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    return () => undefined;
  }
  const before = residentMb(process.pid);
  return () => {
    const peak = kernelMb(process.pid, 'VmHWM');
    return peak === undefined || before === undefined ? undefined : Math.max(0, peak - before);
  };
}

function kernelMb(pid: number | undefined, key: 'VmRSS' | 'VmHWM'): number | undefined {
  try {
    const kilobytes = new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
    return kilobytes === undefined ? undefined : (Number(kilobytes) * 1024) / 1e6;
  } catch {
    return undefined;
  }
}
