/** Chromium without a window, driven over its own protocol (Chrome DevTools Protocol): what a person would see of an address. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
  existsSync(path),
);

export interface Browser {
  open(url: string): Promise<void>;
  /** What the page's script would find; the page's own policy does not hold for it. */
  evaluate(expression: string): Promise<unknown>;
  /** A PNG of what is painted; undefined while one page gives way to another. */
  screenshot(): Promise<Buffer | undefined>;
  close(): Promise<void>;
}

const ARGUMENTS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--remote-debugging-port=0'];

export async function startChromium(path: string): Promise<Browser> {
  const profile = mkdtempSync(join(tmpdir(), 'isthmus-chromium-'));
  const size = '--window-size=600,400';
  const child = spawn(path, [...ARGUMENTS, size, `--user-data-dir=${profile}`, 'about:blank'], { stdio: 'ignore' });
  const port = await debuggingPort(join(profile, 'DevToolsActivePort'), () => child.exitCode !== null);
  const pages = (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()) as {
    type: string;
    webSocketDebuggerUrl: string;
  }[];
  const socket = new WebSocket(pages.find(({ type }) => type === 'page')?.webSocketDebuggerUrl ?? '');
  await once(socket, 'open');
  let calls = 0;
  const call = async (method: string, params: object = {}): Promise<Record<string, unknown>> => {
    const id = ++calls;
    const answered = new Promise<Record<string, unknown>>((resolve) => {
      const take = ({ data }: MessageEvent): void => {
        const message = JSON.parse(String(data)) as { id?: number; result?: Record<string, unknown> };
        if (message.id !== id) return;
        socket.removeEventListener('message', take);
        resolve(message.result ?? {});
      };
      socket.addEventListener('message', take);
    });
    socket.send(JSON.stringify({ id, method, params }));
    return answered;
  };
  return {
    async open(url) {
      await call('Page.navigate', { url });
    },
    async evaluate(expression) {
      const { result } = await call('Runtime.evaluate', { expression, returnByValue: true });
      return (result as { value?: unknown } | undefined)?.value;
    },
    async screenshot() {
      const { data } = await call('Page.captureScreenshot', { format: 'png' });
      return typeof data === 'string' ? Buffer.from(data, 'base64') : undefined;
    },
    async close() {
      socket.close();
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    },
  };
}

/** The browser writes it once it listens. */
async function debuggingPort(file: string, ended: () => boolean): Promise<number> {
  for (;;) {
    const [line = ''] = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
    if (line !== '') return Number(line);
    if (ended()) throw new Error('Chromium ended before it listened');
    await delay(50);
  }
}
