/** Rendered documents as a browser shows them under the policies they come with (DOCUMENT-4 tells the policies). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { storeInstance } from '../../src/archive/instances.ts';
import { code, identified, objectOf } from '../phantom/keywords.ts';
import { CHROMIUM, startChromium, type Browser } from './chromium.ts';
import { openDoor, type Door } from './door.ts';
import { readPng } from './png.ts';

const SKIP = CHROMIUM === undefined ? 'Chromium is not installed (Debian package chromium)' : false;
const EVIL = `<script>document.title='run'</script><img src=x onerror="document.title='run'">`;

/** One page of 200 x 200 points, red all over. */
function redPage(): Buffer {
  const paint = '1 0 0 rg 0 0 200 200 re f';
  const objects = [
    '<</Type/Catalog/Pages 2 0 R>>',
    '<</Type/Pages/Kids[3 0 R]/Count 1>>',
    '<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources<<>>>>',
    `<</Length ${paint.length}>>stream\n${paint}\nendstream`,
  ];
  let text = '%PDF-1.4\n';
  const offsets = objects.map((object, index) => {
    const at = text.length;
    text += `${index + 1} 0 obj${object}endobj\n`;
    return `${String(at).padStart(10, '0')} 00000 n \n`;
  });
  const table = `xref\n0 5\n0000000000 65535 f \n${offsets.join('')}trailer<</Size 5/Root 1 0 R>>\n`;
  return Buffer.from(`${text}${table}startxref\n${text.length}\n%%EOF\n`);
}

async function withBrowser(look: (door: Door, browser: Browser) => Promise<void>): Promise<void> {
  const door = await openDoor();
  const browser = await startChromium(CHROMIUM ?? '');
  try {
    await look(door, browser);
  } finally {
    await browser.close();
    await door.close();
  }
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    if (await holds()) return;
    await delay(200);
  }
  assert.fail(what);
}

test(
  'DOCUMENT-6: a browser paints an encapsulated PDF under the policy that it comes with',
  { skip: SKIP },
  async () => {
    await withBrowser(async (door, browser) => {
      const pdf = redPage();
      await storeInstance(
        door.gateway.archive,
        objectOf({
          ...identified('1.2.840.10008.5.1.4.1.1.104.1', 'DOC', [1, 3, 1]),
          EncapsulatedDocument: Buffer.concat([pdf, Buffer.alloc(pdf.length % 2)]),
          EncapsulatedDocumentLength: pdf.length,
          MIMETypeOfEncapsulatedDocument: 'application/pdf',
        }),
      );
      const path = '/studies/2.25.1/series/2.25.1.3/instances/2.25.1.3.1/rendered?accept=application/pdf';
      await browser.open(`${door.url}${path}`);
      await until('the page is not painted', async () => {
        const png = await browser.screenshot();
        if (png === undefined) return false;
        const { width, height, samples } = readPng(png);
        const channels = samples.length / (width * height);
        let red = 0;
        for (let at = 0; at < samples.length; at += channels)
          if (samples[at] === 255 && samples[at + 1] === 0 && samples[at + 2] === 0) red++;
        return red > 20_000;
      });
    });
  },
);

test(
  'DOCUMENT-7: a report that holds markup is text to a browser, and nothing of it runs',
  { skip: SKIP },
  async () => {
    await withBrowser(async (door, browser) => {
      const named = { ConceptNameCodeSequence: [code('126000', 'DCM', 'Report')] };
      await storeInstance(
        door.gateway.archive,
        objectOf({
          ...identified('1.2.840.10008.5.1.4.1.1.88.33', 'SR', [1, 2, 1]),
          ValueType: 'CONTAINER',
          ...named,
          ContentSequence: [{ RelationshipType: 'CONTAINS', ValueType: 'TEXT', ...named, TextValue: EVIL }],
        }),
      );
      await browser.open(`${door.url}/studies/2.25.1/series/2.25.1.2/instances/2.25.1.2.1/rendered`);
      await until('the report is not shown', async () =>
        String(await browser.evaluate('document.body?.innerText')).includes(EVIL),
      );
      assert.equal(await browser.evaluate("document.querySelectorAll('script, img').length"), 0);
      assert.equal(await browser.evaluate('document.title'), 'Report');
    });
  },
);
