/** What a corrected series leaves beside its images: how it is seen first. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { itemsOf, numberValue } from '../../src/dicom/data-set.ts';
import { tag } from '../../src/dicom/dictionary.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { keptOf, producedOf } from '../../src/workflow/correct.ts';
import { loadedFrom } from '../../src/workflow/each-volume.ts';
import { windowIn, windowOver } from '../../src/workflow/panels.ts';
import { instanceOf, phantomSeries } from '../derived/phantom.ts';

test('where every image has a window of its own, the one of the slice that is shown counts, whatever order they came in', async () => {
  // As some MR scanners write it: the outermost slices show nothing but noise, and are windowed so.
  const files = phantomSeries({ slices: 7, over: (k) => ({ WindowCenter: 10 + 100 * k, WindowWidth: 20 + 200 * k }) });
  const source = await loadedFrom(
    [files[0], files[6], files[3], files[1], files[5], files[2], files[4]].map((file) => instanceOf(file!)),
  );
  const kept = keptOf(source, ['image', 'key-image']);
  assert.equal(kept.k, 3);
  const algorithm = {
    name: 'ours',
    version: '1.0.0',
    family: { value: '123110', scheme: 'DCM', meaning: 'Artificial Intelligence' },
    parameters: '{}',
    sha256: 'a'.repeat(64),
  };
  const provenance = {
    algorithm,
    softwareVersion: '1',
    description: 'nothing',
    figures: [],
    seriesSuffix: '[X]',
    seriesNumber: 9400,
  };
  const { objects } = producedOf(
    {
      source,
      kept,
      results: [{ voxels: source.volume.voxels.slice() }],
      verdict: { outcome: 'pass', findings: [] },
      measured: {},
      provenance,
      shown: [],
      windowOf: (before, image) => windowIn(image) ?? windowOver(before),
      image: { kind: 'denoised', provenance },
    },
    { outputs: ['image', 'key-image'] },
  );
  const heads = [...objects].map(({ head, body }) => readHead(Buffer.concat([head, body])).head.dataSet);
  const state = heads.find((dataSet) => itemsOf(dataSet, tag('SoftcopyVOILUTSequence')).length > 0);
  assert.ok(state);
  const [lut] = itemsOf(state, tag('SoftcopyVOILUTSequence'));
  assert.ok(lut);
  assert.deepEqual([numberValue(lut, tag('WindowCenter')), numberValue(lut, tag('WindowWidth'))], [310, 620]);
});
