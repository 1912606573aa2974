/** Timed GET requests over keep-alive connections; each answer's status is checked, its size told. */
import { Agent, request } from 'node:http';
import { connect } from 'node:net';

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

const DRAIN_BYTES = 2 ** 20;

/**
 * One GET on a connection of its own, read into one buffer over and over: Node's own client needs more CPU for 100 MB than any of the
 * servers, so that all of them look alike. The time is that from the connected socket to the last byte.
 */
export function drain(url: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  const { hostname, port, host, pathname, search } = new URL(url);
  const buffer = Buffer.allocUnsafeSlow(DRAIN_BYTES);
  return new Promise((resolve, reject) => {
    let begin = 0;
    let firstMs = 0;
    let lengthBytes = 0;
    let head: Buffer | undefined = Buffer.alloc(0);
    /** Of a body whose length is told; else the server closes behind it, or ends it with a chunk of none. */
    let expected = Infinity;
    let tail = '';
    const end = (): void => {
      resolve({ wholeMs: performance.now() - begin, firstMs, lengthBytes, body: Buffer.alloc(0) });
      socket.destroy();
    };
    const take = (bytes: Buffer): void => {
      let body = bytes;
      if (head !== undefined) {
        head = Buffer.concat([head, bytes]);
        const headEnd = head.indexOf('\r\n\r\n');
        if (headEnd < 0) return;
        const text = head.toString('latin1', 0, headEnd);
        if (!/^HTTP\/1\.[01] 200 /.test(text)) {
          reject(new Error(`${pathname} was answered ${text.split('\r\n', 1)[0]}`));
          socket.destroy();
          return;
        }
        expected = Number(/^content-length: *(\d+)/im.exec(text)?.[1] ?? Infinity);
        body = head.subarray(headEnd + 4);
        head = undefined;
      }
      if (body.length === 0) return;
      if (lengthBytes === 0) firstMs = performance.now() - begin;
      lengthBytes += body.length;
      tail = (tail + body.toString('latin1', Math.max(0, body.length - LAST_CHUNK.length))).slice(-LAST_CHUNK.length);
      if (lengthBytes >= expected || (expected === Infinity && tail === LAST_CHUNK)) end();
    };
    const socket = connect({
      host: hostname,
      port: Number(port),
      noDelay: true,
      onread: {
        buffer,
        callback(length) {
          take(buffer.subarray(0, length));
          return true;
        },
      },
    });
    socket.once('error', reject).once('close', () => (lengthBytes > 0 ? end() : reject(new Error('no answer'))));
    socket.once('connect', () => {
      begin = performance.now();
      const lines = Object.entries({ Host: host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.write(`GET ${pathname}${search} HTTP/1.1\r\n${lines.join('')}\r\n`);
    });
  });
}

const LAST_CHUNK = '\r\n0\r\n\r\n';

export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}
