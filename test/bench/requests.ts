/** Timed GET requests over keep-alive connections; each answer's status is checked, its size told. */
import { Agent, request } from 'node:http';

export interface Answer {
  readonly wholeMs: number;
  readonly firstMs: number;
  readonly lengthBytes: number;
  /** Kept only where it was asked for. */
  readonly body: Buffer;
}

export interface Client {
  /** @throws Error for any other status than 200, or 204 */
  get(url: string, headers?: Readonly<Record<string, string>>, keep?: boolean): Promise<Answer>;
  close(): void;
}

export function openClient(connections = 1): Client {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  return {
    get: (url, headers = {}, keep = false) => get(agent, url, headers, keep),
    close: () => agent.destroy(),
  };
}

function get(agent: Agent, url: string, headers: Readonly<Record<string, string>>, keep: boolean): Promise<Answer> {
  const begin = performance.now();
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { agent, headers }, (response) => {
      let firstMs = performance.now() - begin;
      let lengthBytes = 0;
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => {
        if (lengthBytes === 0) firstMs = performance.now() - begin;
        lengthBytes += chunk.length;
        if (keep) chunks.push(chunk);
      });
      response.once('error', reject);
      response.once('end', () => {
        if (response.statusCode !== 200 && response.statusCode !== 204)
          reject(new Error(`${new URL(url).pathname} was answered ${response.statusCode}`));
        else resolve({ wholeMs: performance.now() - begin, firstMs, lengthBytes, body: Buffer.concat(chunks) });
      });
    });
    outgoing.once('error', reject);
    outgoing.end();
  });
}

export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}
