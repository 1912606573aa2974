/**
 * What dicomweb-client wants of a browser's XMLHttpRequest, over our own HTTP exchange: Node has none
 * (dcmjs-org/dicomweb-client#101), and a global one would know neither time limits nor our connections.
 */
import { exchange, type HttpAnswer } from './stow-client.ts';

export class NodeRequest {
  readyState = 0;
  status = 0;
  response: unknown = null;
  responseType: '' | 'json' | 'arraybuffer' = '';
  onreadystatechange: (() => void) | null = null;
  onloadstart: (() => void) | null = null;
  onloadend: (() => void) | null = null;
  readonly #timeoutMs: number;
  readonly #headers: Record<string, string> = {};
  #method: 'GET' | 'POST' = 'GET';
  #url = '';
  #answer: HttpAnswer | undefined;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  open(method: string, url: string): void {
    this.#method = method.toUpperCase() === 'POST' ? 'POST' : 'GET';
    this.#url = url;
    this.readyState = 1;
  }

  setRequestHeader(name: string, value: string): void {
    this.#headers[name.toLowerCase()] = value;
  }

  getResponseHeader(name: string): string | null {
    const value = this.#answer?.headers[name.toLowerCase()];
    return value === undefined ? null : String(value);
  }

  getAllResponseHeaders(): string {
    return Object.entries(this.#answer?.headers ?? {})
      .map(([name, value]) => `${name}: ${String(value)}\r\n`)
      .join('');
  }

  send(data?: ArrayBuffer | Uint8Array | string): void {
    this.onloadstart?.();
    const body =
      data === undefined ? undefined : typeof data === 'string' ? Buffer.from(data) : Buffer.from(new Uint8Array(data));
    const question = { method: this.#method, url: this.#url, headers: this.#headers, timeoutMs: this.#timeoutMs };
    exchange(body === undefined ? question : { ...question, body })
      .then((answer) => {
        this.#answer = answer;
        this.status = answer.status;
        this.response = this.#decode(answer.body);
      })
      // Status 0 is what a browser reports for a request that failed on the network; dicomweb-client rejects on it.
      .catch(() => {
        this.status = 0;
      })
      .finally(() => {
        this.readyState = 4;
        this.onreadystatechange?.();
        this.onloadend?.();
      });
  }

  #decode(body: Buffer): unknown {
    if (this.responseType === 'arraybuffer') return body.buffer.slice(body.byteOffset, body.byteOffset + body.length);
    if (this.responseType !== 'json') return body.toString('utf8');
    try {
      return JSON.parse(body.toString('utf8')) as unknown;
    } catch {
      return null;
    }
  }
}
