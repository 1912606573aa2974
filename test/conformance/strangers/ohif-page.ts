/** What a person sees and does in OHIF's page. */
import assert from 'node:assert/strict';
import { until } from '../../peers/ports.ts';
import type { Box, Locator, Page } from './browser.ts';
import { difference, readPicture, type Picture } from './pictures.ts';

export function thumbnails(page: Page): Locator {
  return page.locator('[data-cy="study-browser-thumbnail"]');
}

/** While the page puts another series into a viewport there is none for a moment. */
async function boxOf(page: Page, n: number): Promise<Box> {
  let box: Box | null = null;
  await until(
    `viewport ${n}`,
    async () => (box = await page.locator('canvas.cornerstone-canvas').nth(n).boundingBox()) !== null,
    10_000,
    100,
  );
  assert.ok(box !== null);
  return box;
}

/** What is seen in a viewport. */
export async function pane(page: Page, n: number): Promise<Picture> {
  return readPicture(await shot(page, n));
}

/** PNG bytes of a viewport. */
export async function shot(page: Page, n: number): Promise<Buffer> {
  return page.screenshot({ clip: await boxOf(page, n) });
}

/** The picture once it does not change any more. */
export async function settled(page: Page, n: number): Promise<Picture> {
  let last = await pane(page, n);
  await until(
    'the picture to settle',
    async () => {
      const next = await pane(page, n);
      const moved = difference(next, last);
      last = next;
      return moved < 0.01;
    },
    30_000,
    700,
  );
  return last;
}

export async function pointAt(page: Page, n: number): Promise<{ x: number; y: number }> {
  const box = await boxOf(page, n);
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(x, y);
  return { x, y };
}

/** Width and level as the viewer tells them. */
export async function windowShown(page: Page): Promise<number[]> {
  const text = await page.locator('[data-cy="viewport-grid"]').innerText();
  const [, width, level] = /W:\s*(-?[\d.]+)\s*L:\s*(-?[\d.]+)/.exec(text) ?? [];
  return [Number(width), Number(level)];
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
