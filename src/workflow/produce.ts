/**
 * Loaded series in, derived objects out: runs a pipeline and writes its result as DICOM, wherever the series came from. One import for
 * all pipelines, and what a run that was refused leaves.
 */
import { deriveMeasurementReport } from '../derived/measurement-report.ts';
import type { DerivedObject } from '../derived/provenance.ts';
import type { Head } from '../dicom/object.ts';
import type { Refusal } from '../dicom/refusal.ts';
import { GatesRefusal } from '../pipelines/gates.ts';
import type { Pool } from '../pipelines/pool.ts';
import { registrationOf } from '../pipelines/registration-settings.ts';
import { DEFAULT_OUTPUTS, type Output, type PipelineName } from '../routing/rules.ts';
import { notHeld, reporting, withIntake, type IntakeNotes } from './beside.ts';
import { cardOf, provenanceOf, zooProvenance, type PipelineSettings, type Produced } from './model-run.ts';

export { produceByManifest } from './by-manifest.ts';
export { produceDenoised } from './denoise.ts';
export { produceRegistration } from './register.ts';

export interface RefusedRun {
  readonly pipeline: PipelineName;
  /** Heads of the series that was to be changed. */
  readonly source: readonly Head[];
  readonly fixed?: readonly Head[] | undefined;
  readonly settings: PipelineSettings;
  readonly refusal: Refusal;
  readonly outputs?: readonly Output[] | undefined;
  readonly intake?: IntakeNotes | undefined;
}

/** What a refused run leaves: the report of what was found, and no image. */
export function produceRefused(pool: Pool, run: RefusedRun): Produced {
  const { pipeline, source, fixed, settings, refusal } = run;
  const findings = refusal instanceof GatesRefusal ? refusal.findings : [];
  const figures = findings.flatMap(({ name, value }) => (Number.isFinite(value) ? [{ name, value }] : []));
  const model = pool.zoo.get(pipeline);
  const provenance =
    model !== undefined
      ? zooProvenance(model.card, settings, figures)
      : provenanceOf(
          cardOf(pool, pipeline === 'register' ? registrationOf(settings) : 'denoise'),
          pipeline === 'register'
            ? 'Registration of this series to another one was refused'
            : 'Noise reduction was refused',
          JSON.stringify(settings),
          figures,
        );
  function* objects(): Generator<DerivedObject> {
    if ((run.outputs ?? DEFAULT_OUTPUTS).includes('report'))
      yield deriveMeasurementReport({
        source,
        ...(fixed === undefined ? {} : { fixed }),
        ...withIntake(
          run.intake,
          { outcome: 'refuse', reasons: findings.length === 0 ? [refusal.message] : notHeld(findings) },
          reporting(provenance),
        ),
      });
  }
  return { objects: objects(), quality: {}, verdict: 'refuse' };
}
