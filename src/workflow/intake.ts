/**
 * The intake check of a study that has been quiet: each received series is looked at once for each state of its content, and what was
 * found is kept beside it, for rules, reports and people.
 */
import { instancesOf, readInstanceHead, readInstanceHeads, type InstanceRow } from '../archive/instances.ts';
import { readFrame } from '../archive/frames.ts';
import { seriesOf, versionOf } from '../archive/studies.ts';
import { imageLayout } from '../codecs/image.ts';
import { convertFrame } from '../codecs/pool.ts';
import type { Head } from '../dicom/object.ts';
import { numberValue } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { readHead } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN } from '../dicom/transfer-syntax.ts';
import { paddingOf, planesOf } from '../dicom/slices.ts';
import { countedValues, pixelFormat, type PixelFormat, type Rescale } from '../dicom/voxels.ts';
import type { Gateway } from '../gateway.ts';
import type { IntakeFacts, SeriesFacts } from '../routing/match.ts';
import type { IntakeNotes } from './beside.ts';
import { openIntakeCheck, type IntakeReport } from './intake-check.ts';
import type { Figures } from './intake-history.ts';
import { sampleOf, type Sample } from './intake-sample.ts';
import { isDecoded, type SeriesName } from './load-series.ts';
import { VOLUMES } from './series-kind.ts';

/** Series of the same kind that fences are made of, the newest. */
const MOST_HISTORY = 500;
/** One frame that is sampled may be no longer. */
const MOST_FRAME_BYTES = 32 * 2 ** 20;

/** Looks at every received series of a study that has changed since it was last looked at. */
export async function takeIn(gateway: Gateway, studyInstanceUID: string): Promise<void> {
  for (const series of seriesOf(gateway.archive, studyInstanceUID)) {
    if (series.derived) continue;
    const name = { studyInstanceUID, seriesInstanceUID: series.SeriesInstanceUID };
    const version = versionOf(gateway.archive, studyInstanceUID, series.SeriesInstanceUID) ?? 0;
    const known = gateway.database.get(
      'SELECT version FROM series_intake WHERE study_uid = ? AND series_uid = ?',
      studyInstanceUID,
      series.SeriesInstanceUID,
    );
    if (known !== undefined && Number(known['version']) === version) continue;
    const report = await assessed(gateway, name, series);
    if (report === undefined) continue;
    gateway.database.run(
      `INSERT INTO series_intake (study_uid, series_uid, version, modality, body_part, kind, report) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (study_uid, series_uid) DO UPDATE SET version = excluded.version, modality = excluded.modality,
         body_part = excluded.body_part, kind = excluded.kind, report = excluded.report, skipped = ''`,
      studyInstanceUID,
      series.SeriesInstanceUID,
      version,
      series.Modality,
      series.BodyPartExamined,
      report.kind,
      JSON.stringify(report),
    );
    gateway.log.info('series looked at', {
      study: studyInstanceUID,
      series: series.SeriesInstanceUID,
      is: report.kind,
      findings: report.findings.length,
    });
  }
}

/** A series that cannot be read has no report: it waits for the next look, and rules see it as not checked. */
async function assessed(gateway: Gateway, name: SeriesName, series: SeriesFacts): Promise<IntakeReport | undefined> {
  try {
    const instances = instancesOf(gateway.archive, name);
    const check = openIntakeCheck();
    for await (const [, bytes] of readInstanceHeads(gateway.archive, instances)) check.take(readHead(bytes).head);
    const samples = await samplesOf(gateway, instances);
    const { limits } = gateway.config.intake;
    return check.end(samples, limits[series.Modality], historyOf(gateway, name, series));
  } catch (error) {
    gateway.log.warn('series not looked at', {
      series: name.seriesInstanceUID,
      reason: error instanceof Refusal ? error.reason : error instanceof Error ? error.name : 'unknown',
    });
    return undefined;
  }
}

function historyOf({ database }: Gateway, name: SeriesName, series: SeriesFacts): Figures[] {
  return database
    .all(
      `SELECT report FROM series_intake WHERE modality = ? AND body_part = ? AND kind = 'image' AND series_uid <> ?
       ORDER BY rowid DESC LIMIT ?`,
      series.Modality,
      series.BodyPartExamined,
      name.seriesInstanceUID,
      MOST_HISTORY,
    )
    .map((row) => {
      const { figures } = JSON.parse(String(row['report'])) as { figures: Record<string, number | null> };
      // JSON has no NaN: what was not known is null.
      return Object.fromEntries(
        Object.entries(figures).map(([key, value]) => [key, value ?? NaN]),
      ) as unknown as Figures;
    });
}

/** Frames spread evenly over the series; what there is no codec for or is no grey image gives none. */
async function samplesOf(gateway: Gateway, instances: readonly InstanceRow[]): Promise<Sample[]> {
  const most = gateway.config.intake.sampledImages;
  const frames = instances.flatMap((instance) =>
    Array.from({ length: instance.frameCount }, (_, index) => ({ instance, frame: index + 1 })),
  );
  const count = Math.min(most, frames.length);
  const samples: Sample[] = [];
  for (let n = 0; n < count; n++) {
    const chosen = frames[Math.floor(((n + 0.5) * frames.length) / count)];
    const sample = chosen === undefined ? undefined : await readSample(gateway, chosen.instance, chosen.frame);
    if (sample !== undefined) samples.push(sample);
  }
  return samples;
}

async function readSample(gateway: Gateway, instance: InstanceRow, frame: number): Promise<Sample | undefined> {
  try {
    const { head } = readHead(await readInstanceHead(gateway.archive, instance));
    if (head.pixelData === undefined) return undefined;
    const native = await nativeFrame(gateway, head, instance, frame);
    if (native === undefined) return undefined;
    const one = {
      ...head,
      pixelData: { tag: 0x7fe00010, vr: 'OW' as const, lengthBytes: lengthOf(head, native.length) },
    };
    const format = pixelFormat(one);
    return realSample(native, format, { rescale: rescaleOf(one, frame), padding: paddingOf(one, format) });
  } catch (error) {
    // A frame that makes no slice is told by the heads; one that cannot be decoded gives no figures.
    if (error instanceof Refusal) return undefined;
    throw error;
  }
}

function realSample(
  native: Buffer,
  format: PixelFormat,
  { rescale, padding }: { rescale: Rescale; padding: readonly [number, number] | undefined },
): Sample {
  const { signed, bitsStored } = format;
  const { slope, intercept } = rescale;
  const [least, most] = signed ? [-(2 ** (bitsStored - 1)), 2 ** (bitsStored - 1) - 1] : [0, 2 ** bitsStored - 1];
  const real = function* (): Generator<readonly [number, number]> {
    for (const [stored, times] of countedValues(native, format, 1)) {
      const padded = padding !== undefined && stored >= padding[0] && stored <= padding[1];
      if (!padded) yield [stored * slope + intercept, times];
    }
  };
  return sampleOf(real(), Math.max(least * slope + intercept, most * slope + intercept));
}

/** As the frame's place says; an image without one (radiograph, scout) has its own. */
function rescaleOf(head: Head, frame: number): Rescale {
  try {
    const plane = planesOf(head, 0)[frame - 1];
    if (plane !== undefined) return plane;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
  }
  return {
    slope: numberValue(head.dataSet, tag('RescaleSlope')) ?? 1,
    intercept: numberValue(head.dataSet, tag('RescaleIntercept')) ?? 0,
  };
}

function lengthOf({ dataSet }: Head, frameBytes: number): number {
  return frameBytes * Math.max(1, numberValue(dataSet, 0x00280008) ?? 1);
}

async function nativeFrame(
  { archive, codecs }: Gateway,
  head: Head,
  instance: InstanceRow,
  frame: number,
): Promise<Buffer | undefined> {
  const encapsulated = head.pixelData?.lengthBytes === undefined;
  if (encapsulated && !isDecoded(head)) return undefined;
  const stored = await readFrame(archive, instance, frame);
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of Buffer.isBuffer(stored.bytes) ? [stored.bytes] : stored.bytes) {
    length += chunk.length;
    if (length > MOST_FRAME_BYTES) return undefined;
    chunks.push(chunk);
  }
  const bytes = chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
  if (!encapsulated) return bytes;
  const syntaxes = { from: head.transferSyntaxUID, to: EXPLICIT_VR_LITTLE_ENDIAN };
  return convertFrame(codecs, bytes, imageLayout(head.dataSet), syntaxes);
}

/** What was found of a series, as it is kept. */
export function intakeReport(
  { database }: Gateway,
  { studyInstanceUID, seriesInstanceUID }: SeriesName,
): IntakeReport | undefined {
  const row = database.get(
    'SELECT report FROM series_intake WHERE study_uid = ? AND series_uid = ?',
    studyInstanceUID,
    seriesInstanceUID,
  );
  return row === undefined ? undefined : (JSON.parse(String(row['report'])) as IntakeReport);
}

/** A series as people see it; without a report it was not looked at yet, or could not be read. */
export type LookedAt = Partial<IntakeReport> & {
  readonly seriesInstanceUID: string;
  readonly modality: string;
  readonly description: string;
  readonly instances: number;
  readonly checked: boolean;
  /** Which rule passed over it because of what it is, and why; empty where none did. */
  readonly skipped: string;
};

/** For people: each received series of a study and what was found of it. @throws Refusal NotFound */
export function intakeOfStudy(gateway: Gateway, studyInstanceUID: string): LookedAt[] {
  const received = seriesOf(gateway.archive, studyInstanceUID);
  if (received.length === 0) throw new Refusal('NotFound', 'there is no such study');
  const rows = gateway.database.all(
    'SELECT series_uid, report, skipped FROM series_intake WHERE study_uid = ?',
    studyInstanceUID,
  );
  const reports = new Map(rows.map((row) => [String(row['series_uid']), row]));
  return received
    .filter(({ derived }) => !derived)
    .map(({ SeriesInstanceUID, Modality, SeriesDescription, instances }) => {
      const row = reports.get(SeriesInstanceUID);
      return {
        seriesInstanceUID: SeriesInstanceUID,
        modality: Modality,
        description: SeriesDescription,
        instances,
        checked: row !== undefined,
        ...(row === undefined ? {} : (JSON.parse(String(row['report'])) as IntakeReport)),
        skipped: String(row?.['skipped'] ?? ''),
      };
    });
}

/** As rules see it; a series that was not looked at has no findings and is not checked. */
export function intakeFacts(report: IntakeReport | undefined): IntakeFacts {
  const finite = (value: number | null | undefined): number =>
    typeof value === 'number' && Number.isFinite(value) ? value : -1;
  return {
    checked: report !== undefined,
    kind: report?.kind ?? 'image',
    findings: report?.findings.length ?? 0,
    gaps: report?.gaps ?? 0,
    missingSlices: report?.missingSlices ?? 0,
    duplicates: report?.duplicates ?? 0,
    volumes: report?.volumes ?? 0,
    missingAttributes: report?.missingAttributes.length ?? 0,
    mixedSizes: report?.mixedSizes ?? false,
    mixedBits: report?.mixedBits ?? false,
    beyondLimits: report?.beyondLimits.length ?? 0,
    constantImages: report?.constantImages ?? 0,
    outliers: report?.outliers.length ?? 0,
    isolation: finite(report?.isolation),
    saturatedPercent: report?.saturatedPercent ?? 0,
    pixelMm: finite(report?.figures.pixelMm),
    spacingMm: finite(report?.figures.spacingMm),
    thicknessMm: finite(report?.figures.thicknessMm),
    lowest: report?.figures.lowest ?? 0,
    highest: report?.figures.highest ?? 0,
  };
}

/** As the report of a run on the series has it. */
export function intakeNotes(report: IntakeReport | undefined): IntakeNotes | undefined {
  if (report === undefined) return undefined;
  const counts = {
    intakeFindings: report.findings.length,
    intakeGaps: report.gaps,
    intakeDuplicates: report.duplicates,
    intakeVolumes: report.volumes,
    intakeOutliers: report.outliers.length,
  };
  return { figures: Object.entries(counts).map(([name, value]) => ({ name, value })), findings: report.findings };
}

/** Why a pipeline passes over a series without a word to the PACS; undefined when it is for pipelines. */
export function inapplicable(modality: string, kind: IntakeReport['kind']): string | undefined {
  if (!VOLUMES.has(modality) || kind === 'image') return undefined;
  return kind === 'no-image' ? 'the series has no images' : `the series is a ${kind}: nothing is run on it`;
}

/** One line beside the series, for people; the PACS hears nothing. */
export function recordSkipped(gateway: Gateway, name: SeriesName, line: string): void {
  gateway.database.run(
    'UPDATE series_intake SET skipped = ? WHERE study_uid = ? AND series_uid = ?',
    line,
    name.studyInstanceUID,
    name.seriesInstanceUID,
  );
  gateway.log.info('series passed over', { series: name.seriesInstanceUID, because: line });
}
