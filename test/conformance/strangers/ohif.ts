/**
 * OHIF, as published, in headless Chromium, cross-origin isolated and on another origin than the gateway: the study list, a study opened from it, the
 * picture itself against what the gateway renders, scrolling, the window, the derived series beside the original, and a segmentation.
 * Screenshots go to ISTHMUS_SCREENSHOTS, or to the system's folder for temporary files.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../../peers/ports.ts';
import type { GatewayProcess } from '../../peers/gateway.ts';
import { browserMissing, openPage, type Page } from './browser.ts';
import { ctStudy } from '../../phantom/studies.ts';
import { mustRun, openGatewayFor, search, sentStudy, storeByWeb, valueOf } from './hospital.ts';
import { showMasks } from './ohif-masks.ts';
import { pane, pause, pointAt, settled, thumbnails, windowShown } from './ohif-page.ts';
import { serveViewer } from './ohif-server.ts';
import { correlation, difference, readPicture, type Picture } from './pictures.ts';
import type { Scene, Suite } from './suite.ts';

const SLICES = 12;
const SIZE = 192;
const screenshots = process.env['ISTHMUS_SCREENSHOTS'] ?? join(tmpdir(), 'isthmus-screenshots');
export const ohifSuite: Suite = {
  name: 'ohif',
  proves:
    'OHIF lists, opens, paints, scrolls and windows a study, shows a derived series beside it and paints masks over it',
  missing(tools) {
    const found = tools.ohif();
    return browserMissing(tools) ?? ('missing' in found ? found.missing : undefined);
  },
  async run(scene) {
    const ohif = scene.tools.ohif();
    if ('missing' in ohif) return;
    const viewer = await serveViewer(scene, ohif.folder);
    const gateway = await openGatewayFor(scene, {
      settings: `http: { allowedOrigins: ["${viewer.origin}"] }\n`,
      processing: `\n  - { name: quieter, when: { modality: CT, minInstances: ${SLICES} }, run: ct-denoise, outputs: [image] }`,
    });
    viewer.showArchive(gateway.base);
    await storeByWeb(gateway, sentStudy(scene, { slices: SLICES, size: SIZE }).objects);
    await until('the derived series', async () => (await search(gateway.base, 'series')).length === 2, 240_000, 250);

    const page = await openPage(scene);
    mkdirSync(screenshots, { recursive: true });
    scene.note(`screenshots: ${screenshots}`);
    await look(scene, page, viewer.origin, gateway);
    await showMasks(scene, page, viewer, screenshots);
  },
};

async function look(scene: Scene, page: Page, origin: string, gateway: GatewayProcess): Promise<void> {
  const faults: string[] = [];
  page.on('response', (answer) => {
    if (answer.url().startsWith(gateway.base) && answer.status() >= 400)
      faults.push(`${answer.status()} ${answer.url().slice(gateway.base.length)}`);
  });
  page.on('requestfailed', (request) => {
    if (request.url().startsWith(gateway.base)) faults.push(`failed ${request.url().slice(gateway.base.length)}`);
  });
  page.on('console', (message) => {
    if (message.type() === 'error' && !/net::ERR_FAILED|fonts\.g/.test(message.text())) faults.push(message.text());
  });
  const [study] = await search(gateway.base, 'studies');
  const shown = await renderedSeries(gateway, valueOf(study, '0020000D'));

  await scene.check('the study list shows the study, under its pseudonym', async () => {
    await page.goto(`${origin}/`);
    await page.getByText('Confirm and hide').click({ timeout: 60_000 });
    await page.getByText(shown.patientID).first().waitFor({ timeout: 30_000 });
    await page.screenshot({ path: join(screenshots, '1-study-list.png') });
  });
  await scene.check('the study opens from the list, both series in it', async () => {
    await page.getByText(shown.patientID).first().click();
    await page.getByText('Basic Viewer').click();
    await page.getByText('Skip all').click({ timeout: 60_000 });
    assert.match(page.url(), new RegExp(`StudyInstanceUIDs=${shown.studyUID.replaceAll('.', '\\.')}`));
    await until('two thumbnails', async () => (await thumbnails(page).count()) === 2, 30_000);
  });
  let first: Picture | undefined;
  await scene.check('the picture is painted: it is the slice that the gateway renders', async () => {
    await until('a picture', async () => (await pane(page, 0)).deviation > 5, 60_000, 500);
    first = await settled(page, 0);
    await page.screenshot({ path: join(screenshots, '2-viewer.png') });
    const match = bestMatch(first, shown);
    scene.note(`best match: ${match.series}, slice ${match.slice}, correlation ${match.correlation.toFixed(4)}`);
    assert.ok(match.correlation > 0.97, `correlation ${match.correlation}`);
    assert.equal(match.series, 'original');
  });
  await scene.check('the page is cross-origin isolated, as published viewers want to be', async () => {
    assert.equal(await page.evaluate<boolean>('crossOriginIsolated'), true);
  });
  await scene.check('scrolling brings other slices, each as rendered', async () => {
    assert.ok(first !== undefined);
    const before = bestMatch(first, shown).slice;
    await pointAt(page, 0);
    for (let n = 0; n < 4; n++) {
      await page.mouse.wheel(0, 100);
      await pause(300);
    }
    const picture = await settled(page, 0);
    await page.screenshot({ path: join(screenshots, '3-scrolled.png') });
    const after = bestMatch(picture, shown);
    scene.note(`from slice ${before} to ${after.slice}, correlation ${after.correlation.toFixed(4)}`);
    assert.notEqual(after.slice, before);
    assert.ok(after.correlation > 0.97);
    assert.ok(difference(picture, first) > 1);
  });
  await scene.check(
    'dragging changes the window, and the picture is the one that the gateway renders with it',
    async () => {
      const before = await settled(page, 0);
      const { slice } = bestMatch(before, shown);
      const { x, y } = await pointAt(page, 0);
      await page.mouse.down();
      await page.mouse.move(x + 60, y - 120, { steps: 12 });
      await page.mouse.up();
      const picture = await settled(page, 0);
      await page.screenshot({ path: join(screenshots, '4-window.png') });
      assert.ok(difference(picture, before) > 5, `mean difference ${difference(picture, before)}`);
      const [width = 0, level = 0] = await windowShown(page);
      const same = await rendered(gateway, shown, slice, `?window=${level},${width},linear`);
      const far = difference(picture, same);
      scene.note(`window ${level}/${width}: mean difference from the rendered one ${far.toFixed(2)} of 255`);
      assert.ok(far < 6, `mean difference ${far}`);
    },
  );
  await scene.check('1x2: the derived series beside the original, each its own picture', async () => {
    // Back to the window of the object, which is what the gateway renders without being told another.
    await page.locator('[data-cy="Reset"]').click();
    await page.locator('[data-cy="Layout"]').click();
    await page.locator('[data-cy="Layout-1-0"]').click();
    await until('two viewports', async () => (await page.locator('canvas.cornerstone-canvas').count()) === 2, 30_000);
    await pointAt(page, 1);
    await page.mouse.down();
    await page.mouse.up();
    const derived = page.getByText('[AI-DENOISED]').first();
    await derived.dblclick();
    await until('a second picture', async () => (await pane(page, 1)).deviation > 5, 60_000, 500);
    const right = bestMatch(await settled(page, 1), shown);
    const left = bestMatch(await settled(page, 0), shown);
    await page.screenshot({ path: join(screenshots, '5-derived-beside-original.png') });
    scene.note(
      `left: ${left.series} ${left.correlation.toFixed(4)}; right: ${right.series} ${right.correlation.toFixed(4)}`,
    );
    assert.deepEqual([left.series, right.series], ['original', 'derived']);
    assert.ok(left.correlation > 0.97 && right.correlation > 0.97);
  });
  await compressed(scene, page, origin, gateway);
  await scene.check('nothing that it asked of the gateway failed, and nothing was complained of', () => {
    assert.deepEqual(faults, []);
  });
}

/** One series, each slice in another compression, as dcmtk makes them: the viewer decodes what we send as it is stored. */
async function compressed(scene: Scene, page: Page, origin: string, gateway: GatewayProcess): Promise<void> {
  const name = 'slices in JPEG Lossless, JPEG-LS and RLE are decoded, and are those that the gateway renders';
  const missing = scene.tools.programme('dcmcjpls', 'dcmtk');
  if (missing !== undefined) {
    scene.notRun(name, missing);
    return;
  }
  await scene.check(name, async () => {
    const patient = { name: 'Muster^Max', id: 'KH-8', birthDate: '19700101', sex: 'M' } as const;
    const { objects } = ctStudy({ patient, slices: 3, size: SIZE, seed: 5 });
    const packed: Buffer[] = [];
    for (const [n, programme] of [['dcmcjpeg', '+e1'], ['dcmcjpls'], ['dcmcrle']].entries()) {
      const [from, to] = [join(scene.folder, `plain-${n}.dcm`), join(scene.folder, `packed-${n}.dcm`)];
      writeFileSync(from, objects[n] ?? Buffer.alloc(0));
      await mustRun(programme[0] ?? '', [...programme.slice(1), from, to]);
      packed.push(readFileSync(to));
    }
    await storeByWeb(gateway, packed);
    const known = await search(gateway.base, 'studies');
    const study = known.find((one) => valueOf(one, '00201208') === String(packed.length));
    const shown = await renderedSeries(gateway, valueOf(study, '0020000D'));
    assert.equal(shown.slices.length, 3);
    await page.goto(`${origin}/viewer?StudyInstanceUIDs=${shown.studyUID}`);
    await until('a viewport', async () => (await page.locator('canvas.cornerstone-canvas').count()) === 1, 60_000);
    await until('a picture', async () => (await pane(page, 0)).deviation > 5, 60_000, 500);
    const seen = new Map<number, number>();
    await pointAt(page, 0);
    for (let n = 0; n < 3; n++) {
      const match = bestMatch(await settled(page, 0), shown);
      seen.set(match.slice, match.correlation);
      await page.mouse.wheel(0, 100);
      await pause(300);
    }
    await page.screenshot({ path: join(screenshots, '6-compressed.png') });
    scene.note([...seen].map(([slice, alike]) => `slice ${slice}: ${alike.toFixed(4)}`).join(', '));
    assert.equal(seen.size, 3);
    assert.ok([...seen.values()].every((alike) => alike > 0.97));
  });
}

interface Shown {
  readonly studyUID: string;
  readonly patientID: string;
  readonly slices: readonly { series: 'original' | 'derived'; slice: number; path: string; picture: Picture }[];
}

/** Every slice of a study's series as the gateway renders it, in its own window. */
async function renderedSeries(gateway: GatewayProcess, studyUID: string): Promise<Shown> {
  const query = `StudyInstanceUID=${studyUID}&includefield=PatientID,SeriesNumber&limit=100`;
  const instances = await search(gateway.base, `instances?${query}`);
  const slices: Shown['slices'][number][] = [];
  for (const instance of instances) {
    const path = `studies/${valueOf(instance, '0020000D')}/series/${valueOf(instance, '0020000E')}/instances/${valueOf(instance, '00080018')}`;
    slices.push({
      series: valueOf(instance, '00200011') === '2' ? 'original' : 'derived',
      slice: Number(valueOf(instance, '00200013')),
      path,
      picture: await fetchPicture(gateway, `${path}/rendered`),
    });
  }
  return { studyUID, patientID: valueOf(instances[0], '00100020'), slices };
}

async function fetchPicture(gateway: GatewayProcess, path: string): Promise<Picture> {
  const reply = await fetch(`${gateway.base}/dicom-web/${path}`, { headers: { Accept: 'image/png' } });
  assert.equal(reply.status, 200, path);
  return readPicture(Buffer.from(await reply.arrayBuffer()));
}

function rendered(gateway: GatewayProcess, shown: Shown, slice: number, query: string): Promise<Picture> {
  const found = shown.slices.find((one) => one.series === 'original' && one.slice === slice);
  return fetchPicture(gateway, `${found?.path}/rendered${query}`);
}

function bestMatch(picture: Picture, { slices }: Shown): { series: string; slice: number; correlation: number } {
  const scored = slices.map(({ series, slice, picture: other }) => ({
    series,
    slice,
    correlation: correlation(picture, other),
  }));
  return scored.reduce((best, one) => (one.correlation > best.correlation ? one : best));
}
