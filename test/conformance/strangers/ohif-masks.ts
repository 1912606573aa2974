/** A Segmentation that a hospital's own model made of a CT, as OHIF paints it: over air and bone, and over nothing else. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { until } from '../../peers/ports.ts';
import { ctStudy } from '../../phantom/studies.ts';
import { AIR_AND_BONE, writeSiteMasks } from '../../pipelines/site-masks.ts';
import type { Page } from './browser.ts';
import { openGatewayFor, PATIENT, search, storeByWeb, valueOf } from './hospital.ts';
import { pane, settled, shot } from './ohif-page.ts';
import type { Viewer } from './ohif-server.ts';
import { readColourfulness } from './pictures.ts';
import type { Scene } from './suite.ts';

const COLOURED = 30;

export async function showMasks(scene: Scene, page: Page, viewer: Viewer, screenshots: string): Promise<void> {
  await scene.check('a segmentation is painted over the CT it belongs to: air and bone, and nothing else', async () => {
    const models = join(scene.folder, 'models');
    writeSiteMasks(models, 'tissues', AIR_AND_BONE);
    const gateway = await openGatewayFor(scene, {
      name: 'masks',
      settings: `http: { allowedOrigins: ["${viewer.origin}"] }\npipelines: { modelsFolder: '${models}' }\n`,
      processing: `\n  - { name: own, when: { modality: CT }, run: tissues }`,
    });
    viewer.showArchive(gateway.base);
    await storeByWeb(gateway, ctStudy({ patient: PATIENT, slices: 5, noiseHU: 5 }).objects);
    let masks: Awaited<ReturnType<typeof search>> = [];
    await until(
      'the segmentation',
      async () => {
        masks = await search(gateway.base, 'series?Modality=SEG&includefield=SeriesDescription');
        return masks.length === 1;
      },
      240_000,
      250,
    );
    await page.goto(`${viewer.origin}/viewer?StudyInstanceUIDs=${valueOf(masks[0], '0020000D')}`);
    await until('a viewport', async () => (await page.locator('canvas.cornerstone-canvas').count()) === 1, 60_000);
    await until('a picture', async () => (await pane(page, 0)).deviation > 5, 60_000, 500);
    const plain = await settled(page, 0);
    await page.getByText(valueOf(masks[0], '0008103E'), { exact: true }).first().dblclick();
    let painted: readonly number[] = [];
    await until(
      'colour',
      async () => {
        painted = await readColourfulness(await shot(page, 0));
        return painted.some((value) => value > COLOURED);
      },
      60_000,
      500,
    );
    await settled(page, 0);
    painted = await readColourfulness(await shot(page, 0));
    await page.screenshot({ path: join(screenshots, '7-masks.png') });
    // In the window of the slices air is black and bone is white; what is soft tissue is neither.
    const share = (of: (grey: number) => boolean): number => {
      const among = painted.filter((_, n) => of(plain.grey[n] ?? 0));
      return among.filter((value) => value > COLOURED).length / among.length;
    };
    const shares = [share((grey) => grey < 3), share((grey) => grey > 252), share((grey) => grey > 60 && grey < 200)];
    const [air = 0, bone = 0, soft = 1] = shares;
    scene.note(`painted: air ${air.toFixed(3)}, bone ${bone.toFixed(3)}, soft tissue ${soft.toFixed(3)}`);
    assert.ok(air > 0.9 && bone > 0.9 && soft < 0.05, shares.join(' '));
  });
}
