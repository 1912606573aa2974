/** Free ports on loopback. */
import { createServer } from 'node:net';

/** The port asked for, when it is free, or any free one. */
export function freePort(wanted?: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(Number(wanted ?? 0), '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

/** Waits until `holds`; throws after `longestMs`. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  longestMs: number,
  pauseMs = 100,
): Promise<void> {
  const end = Date.now() + longestMs;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`waited ${Math.round(longestMs / 1000)} s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
