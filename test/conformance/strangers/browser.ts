/** Debian's Chromium without a window, driven by playwright-core: it speaks to this machine alone. */
import { existsSync } from 'node:fs';
import type { Scene } from './suite.ts';
import type { Tools } from './tools.ts';

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}
export interface Locator {
  first(): Locator;
  nth(n: number): Locator;
  count(): Promise<number>;
  click(options?: object): Promise<void>;
  dblclick(options?: object): Promise<void>;
  boundingBox(): Promise<Box | null>;
  innerText(): Promise<string>;
  waitFor(options?: object): Promise<void>;
}
export interface Page {
  goto(url: string): Promise<unknown>;
  url(): string;
  on(event: string, take: (what: { url(): string; status(): number; type(): string; text(): string }) => void): void;
  route(
    pattern: string,
    take: (route: { request(): { url(): string }; continue(): unknown; abort(): unknown }) => unknown,
  ): Promise<void>;
  locator(selector: string): Locator;
  getByText(text: string, options?: object): Locator;
  evaluate<T>(script: string): Promise<T>;
  screenshot(options: { path?: string; clip?: Box }): Promise<Buffer>;
  readonly mouse: {
    move(x: number, y: number, options?: object): Promise<void>;
    down(): Promise<void>;
    up(): Promise<void>;
    wheel(x: number, y: number): Promise<void>;
  };
}
/** What is used of playwright-core. */
interface Playwright {
  readonly chromium: {
    launch(options: { executablePath: string; args: readonly string[] }): Promise<{
      newPage(options: object): Promise<Page>;
      close(): Promise<void>;
    }>;
  };
}

/** Software drawing: no machine needs a graphics card for this. */
const CHROMIUM = ['--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist'];

export function browserMissing(tools: Tools): string | undefined {
  if (browserPath() === undefined) return 'Chromium is not installed (Debian package chromium)';
  const found = tools.npm();
  return 'missing' in found ? found.missing : undefined;
}

function browserPath(): string | undefined {
  return ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => existsSync(path));
}

/** A page of a browser that ends with the suite. */
export async function openPage(scene: Scene): Promise<Page> {
  const found = scene.tools.npm();
  if ('missing' in found) throw new Error(found.missing);
  const { chromium } = found.require('playwright-core') as Playwright;
  const browser = await chromium.launch({ executablePath: browserPath() ?? '', args: CHROMIUM });
  scene.after(() => browser.close());
  const page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
  await page.route('**', (route) =>
    /^(http:\/\/127\.0\.0\.1|blob:|data:)/.test(route.request().url()) ? route.continue() : route.abort(),
  );
  return page;
}
