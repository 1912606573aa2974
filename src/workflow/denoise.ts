/** Noise reduction of CT. */
import { asciiValue, asciiValues } from '../dicom/data-set.ts';
import { Refusal } from '../dicom/refusal.ts';
import { parseDenoiseSettings } from '../pipelines/correction.ts';
import { runDenoising, type Pool } from '../pipelines/pool.ts';
import { DEFAULT_OUTPUTS } from '../routing/rules.ts';
import { SERIES_NUMBER, type LoadedSeries } from './beside.ts';
import { keptOf, producedOf } from './correct.ts';
import { eachVolume, meanOf, worstOf } from './each-volume.ts';
import {
  cardOf,
  figuresOf,
  plain,
  provenanceOf,
  refuseLost,
  storedRange,
  type PipelineSettings,
  type Produced,
  type ProduceOptions,
} from './model-run.ts';
import { windowIn, type Window } from './panels.ts';

/** Takes noise out of a CT series. @throws Refusal PipelineRefused */
export async function produceDenoised(
  pool: Pool,
  { source, settings: given }: { readonly source: LoadedSeries; readonly settings: PipelineSettings },
  options: ProduceOptions,
): Promise<Produced> {
  const { transform: _transform, ...rest } = given;
  const settings = parseDenoiseSettings(rest);
  const [first] = source.heads;
  if (first === undefined) throw new Refusal('PipelineRefused', 'the series has no instances');
  refuseLost('ct-denoise', source.heads);
  const kept = keptOf(source, options.outputs ?? DEFAULT_OUTPUTS);
  const results = await eachVolume(source, options, (volume, one) =>
    runDenoising(
      pool,
      {
        volume: plain(volume),
        storedRange: storedRange({ heads: source.heads, volume }),
        imageType: asciiValues(first.dataSet, 0x00080008),
        rescaleType: asciiValue(first.dataSet, 0x00281054),
        settings,
      },
      one,
    ),
  );
  const measured = meanOf(results.map(({ quality: found }) => found));
  const provenance = provenanceOf(
    cardOf(pool, 'denoise'),
    `Noise reduction; ${Math.round(measured.alpha * 100)} percent of the noise found was taken away`,
    JSON.stringify({ alpha: Number(measured.alpha.toFixed(3)) }),
    figuresOf(measured),
  );
  return producedOf(
    {
      source,
      kept,
      results,
      verdict: worstOf(results.map((one) => one.verdict)),
      measured,
      provenance,
      shown: ['sigmaBeforeHU', 'sigmaAfterHU', 'meanShiftSoftTissueHU', 'edgeWidthChange', 'ssimToSource'],
      windowOf: (_, image) => windowIn(image) ?? SOFT_TISSUE,
      image: { kind: 'denoised', provenance: { ...provenance, seriesNumber: SERIES_NUMBER.denoised } },
    },
    options,
  );
}

const SOFT_TISSUE: Window = { center: 40, width: 400 };
