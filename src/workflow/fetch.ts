/**
 * The archive lacks the prior that a rule wants: a node is searched under the patient's own identity, which only the crosswalk knows, and
 * sends the newest comparable series. It comes in by the same door, de-identified and admitted by the rules. Then, or when the time is
 * over, the study goes on. The identity lives in this file's variables; what is written down or told are pseudonyms and counts.
 */
import { seriesOf, studyOf } from '../archive/studies.ts';
import { recordAudit } from '../audit.ts';
import { domainOf } from '../deidentify/wall.ts';
import { findStudy, type StudyRow } from '../deidentify/crosswalk.ts';
import { pseudonymOfUid } from '../deidentify/pseudonyms.ts';
import { searchNode, type NodeSearch, type NodeSeries, type NodeStudy } from '../delivery/node-search.ts';
import type { Node } from '../config/nodes.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import type { SeriesFacts } from '../routing/match.ts';
import { comparableIn } from '../routing/pairs.ts';
import { backOffMs, finishWork, postponeWork, type WorkItem } from '../workitems.ts';
import { showProgress } from '../workitems/shown.ts';
import { goOnAfterFetch, type FetchParameters } from './complete.ts';
import { endFetching, markFetched } from './fetched.ts';
import { keepBusy, receiveInstance, releaseStudies, type Sender } from './receive.ts';

/** Of a patient with many examinations so many are looked into. */
const MOST_STUDIES = 10;

export interface FetchResult {
  readonly node: string;
  /** The prior study (pseudonym), where one has come. */
  readonly prior?: string;
  readonly objects: number;
  /** What was found, for people. */
  readonly found: string;
  /** Work items that could be scheduled because of it. */
  readonly scheduled: number;
}

/** True: the item is at its end, or rests until the node can be asked again; false: somebody else has it. */
export async function fetchPrior(gateway: Gateway, item: WorkItem, signal: AbortSignal): Promise<boolean> {
  const parameters = item.parameters as unknown as FetchParameters;
  const deadline = item.createdAt + parameters.waitMs;
  let outcome: Outcome;
  try {
    outcome = await attempt(gateway, item, parameters, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Refusal)) throw error;
    const next = gateway.now() + backOffMs(Math.min(item.attempts, 6));
    if (error.reason === 'DeliveryFailed' && next < deadline) {
      showProgress(gateway.workItems, item.uid, `asked again: ${error.message}`, 0);
      gateway.log.warn('prior not fetched yet', {
        study: item.studyInstanceUID,
        node: parameters.node,
        found: error.message,
      });
      return postponeWork(gateway.workItems, item, { at: next, counts: true });
    }
    outcome = { found: `${error.message}; the time to wait is over`, objects: 0 };
  }
  signal.throwIfAborted();
  return end(gateway, item, parameters, outcome);
}

interface Outcome {
  readonly found: string;
  readonly prior?: string;
  readonly objects: number;
}

/** The item's end and what waited for it are one transaction. */
function end(gateway: Gateway, item: WorkItem, { node, project }: FetchParameters, outcome: Outcome): boolean {
  const finished = gateway.database.transaction(() => {
    endFetching(gateway, item.studyInstanceUID);
    const scheduled = goOnAfterFetch(gateway, item.studyInstanceUID, project);
    const result: FetchResult = { node, ...outcome, scheduled };
    if (!finishWork(gateway.workItems, item, { ...result })) return false;
    recordAudit(gateway.audit, 'Query', 'isthmus', {
      study: item.studyInstanceUID,
      node,
      objects: outcome.objects,
      ...(outcome.prior === undefined ? {} : { prior: outcome.prior }),
    });
    gateway.log.info('prior fetched', { study: item.studyInstanceUID, node, ...outcome, scheduled });
    return true;
  });
  return finished;
}

async function attempt(
  gateway: Gateway,
  item: WorkItem,
  parameters: FetchParameters,
  signal: AbortSignal,
): Promise<Outcome> {
  const { project } = parameters;
  const node = gateway.config.nodes.get(parameters.node);
  if (node === undefined) return { found: `node ${parameters.node} is no longer in nodes.yaml`, objects: 0 };
  const own = findStudy(gateway.wall, project, item.studyInstanceUID);
  if (own === undefined) return { found: 'the project keeps no way back to the patient', objects: 0 };
  const patientID = (own.attributes[PATIENT_ID] ?? '').trim();
  if (patientID === '') return { found: 'the study came without a Patient ID', objects: 0 };
  // Of a query these are no letters but patterns and lists (PS3.4 C.2.2.2).
  if (/[*?\\]/.test(patientID))
    return { found: 'the Patient ID holds a wildcard: the node cannot be asked for it', objects: 0 };
  const wanted = seriesOf(gateway.archive, item.studyInstanceUID).filter(({ SeriesInstanceUID }) =>
    parameters.waiting.some(({ seriesInstanceUID }) => seriesInstanceUID === SeriesInstanceUID),
  );
  const { aeTitle, tls } = gateway.config.dimse;
  showProgress(gateway.workItems, item.uid, 'searching the node', 0.1);
  const search = await searchNode(node, { aeTitle, tls });
  try {
    const studies = await search.studies(patientID);
    const earlier = studies.filter((study) => isEarlier(study, own)).sort(newestFirst);
    const mine = earlier.filter((study) => isOfPatient(study, own));
    const choice = await choose(search, mine, { wanted, parameters, signal });
    if (choice.series === undefined)
      return { found: told(studies.length, earlier.length, mine.length, choice.looked), objects: 0 };
    return await bring(gateway, item, { search, node, parameters, study: choice.study, series: choice.series });
  } finally {
    await search.close();
  }
}

function told(all: number, earlier: number, mine: number, looked: readonly string[]): string {
  const counts = `the node holds ${all} studies under this Patient ID, ${earlier} of them earlier, ${mine} of the same person`;
  return `no comparable prior: ${counts}${looked.length === 0 ? '' : `; ${looked.join('; ')}`}`;
}

const PATIENT_ID = '00100020';
const ISSUER = '00100021';
const BIRTH_DATE = '00100030';
const STUDY_DATE = '00080020';
const STUDY_TIME = '00080030';

/** Two people may share a number: what both sides tell beside it has to be the same. */
function isOfPatient(study: NodeStudy, { attributes }: StudyRow): boolean {
  const agree = (theirs: string, ours: string | undefined) =>
    theirs === '' || (ours ?? '').trim() === '' || theirs === ours?.trim();
  return (
    study.patientID === (attributes[PATIENT_ID] ?? '').trim() &&
    agree(study.issuer, attributes[ISSUER]) &&
    agree(study.birthDate, attributes[BIRTH_DATE])
  );
}

function isEarlier(study: NodeStudy, { originalStudyInstanceUID, attributes }: StudyRow): boolean {
  if (study.studyInstanceUID === '' || study.studyInstanceUID === originalStudyInstanceUID) return false;
  const own = momentOf(attributes[STUDY_DATE] ?? '', attributes[STUDY_TIME] ?? '');
  const theirs = momentOf(study.date, study.time);
  return own !== '' && theirs !== '' && theirs < own;
}

function newestFirst(a: NodeStudy, b: NodeStudy): number {
  return momentOf(a.date, a.time) < momentOf(b.date, b.time) ? 1 : -1;
}

/** Date and time as digits that compare as they follow each other; empty without a date. */
function momentOf(date: string, time: string): string {
  const day = date.replaceAll(/\D/g, '');
  return day.length === 8 ? `${day}${time.replaceAll(/\D/g, '').slice(0, 6).padEnd(6, '0')}` : '';
}

interface Choice {
  readonly study: NodeStudy;
  readonly series: NodeSeries | undefined;
  readonly looked: readonly string[];
}

/** The newest study that has something comparable with a series that waits. */
async function choose(
  search: NodeSearch,
  studies: readonly NodeStudy[],
  {
    wanted,
    parameters,
    signal,
  }: { readonly wanted: readonly SeriesFacts[]; readonly parameters: FetchParameters; readonly signal: AbortSignal },
): Promise<Choice> {
  const modalities = new Set(wanted.map(({ Modality }) => Modality));
  const likely = studies.filter(
    (study) => study.modalities.length === 0 || study.modalities.some((one) => modalities.has(one)),
  );
  const looked: string[] = [];
  if (likely.length < studies.length)
    looked.push(`${studies.length - likely.length} without the modality ${[...modalities].join(' or ')}`);
  for (const [index, study] of likely.slice(0, MOST_STUDIES).entries()) {
    signal.throwIfAborted();
    const all = await search.series(study.studyInstanceUID);
    const small = all.filter(({ instances = 0 }) => instances <= parameters.mostImages);
    if (small.length < all.length)
      looked.push(`${all.length - small.length} series have more than ${parameters.mostImages} images`);
    for (const series of wanted) {
      const { fixed, considered } = comparableIn(
        { StudyInstanceUID: '', series: small.map(factsOfNode) },
        series,
        undefined,
        () => undefined,
      );
      if (fixed !== undefined)
        return { study, series: small.find((one) => one.seriesInstanceUID === fixed.series.SeriesInstanceUID), looked };
      const reasons = [...new Set(considered.flatMap(({ because }) => because))].slice(0, 4).join(', ');
      looked.push(`in the newest but ${index} none is comparable (${reasons || 'no series'})`);
    }
  }
  if (likely.length > MOST_STUDIES) looked.push(`${likely.length - MOST_STUDIES} older ones were not looked into`);
  const [first] = studies;
  return { study: first ?? NOBODY, series: undefined, looked };
}

const NOBODY: NodeStudy = {
  studyInstanceUID: '',
  patientID: '',
  issuer: '',
  birthDate: '',
  date: '',
  time: '',
  modalities: [],
};

/** What a node does not tell speaks neither for nor against. */
function factsOfNode({ seriesInstanceUID, modality, bodyPart, description, instances }: NodeSeries): SeriesFacts {
  return {
    SeriesInstanceUID: seriesInstanceUID,
    Modality: modality,
    SeriesDescription: description,
    BodyPartExamined: bodyPart,
    FrameOfReferenceUID: '',
    SOPClassUID: '',
    instances: instances ?? Number.MAX_SAFE_INTEGER,
    derived: false,
  };
}

interface Bringing {
  readonly search: NodeSearch;
  readonly node: Node;
  readonly parameters: FetchParameters;
  readonly study: NodeStudy;
  readonly series: NodeSeries;
}

async function bring(
  gateway: Gateway,
  item: WorkItem,
  { search, node, parameters: { project }, study, series }: Bringing,
): Promise<Outcome> {
  const domain = domainOf(gateway.wall, project);
  const prior = pseudonymOfUid(domain, study.studyInstanceUID);
  const seriesInstanceUID = pseudonymOfUid(domain, series.seriesInstanceUID);
  markFetched(gateway, prior, item.studyInstanceUID);
  showProgress(gateway.workItems, item.uid, 'the node is sending a prior', 0.4);
  const from: Sender = {
    door: 'stow',
    callingAE: node.dimse?.aeTitle ?? node.name,
    calledAE: gateway.config.dimse.aeTitle,
    remoteAddress: '',
    expectedStudyInstanceUID: study.studyInstanceUID,
  };
  const studies = new Set<string>();
  let refused = 0;
  const take = async (bytes: AsyncIterable<Buffer>): Promise<void> => {
    const { stored } = await receiveInstance(gateway, { bytes }, from).done;
    if (stored === undefined) refused++;
    else keepBusy(gateway, studies, stored.studyInstanceUID);
  };
  let failed = 0;
  try {
    failed = await search.retrieve(study.studyInstanceUID, series, take);
  } finally {
    releaseStudies(gateway, studies);
  }
  const here = seriesOf(gateway.archive, prior).find(
    ({ SeriesInstanceUID }) => SeriesInstanceUID === seriesInstanceUID,
  );
  const objects = here?.instances ?? 0;
  const missing = series.instances === undefined ? failed : series.instances - objects;
  if (objects === 0) {
    if (failed > 0) throw new Refusal('DeliveryFailed', `the node could not send ${failed} objects of the prior`);
    const why =
      studyOf(gateway.archive, prior) === undefined
        ? 'no admission rule let it into this project'
        : 'none of it could be stored';
    return { found: `a comparable prior was sent, but ${why}: see the quarantine`, objects: 0 };
  }
  if (missing > 0 && failed > 0)
    throw new Refusal(
      'DeliveryFailed',
      `the node could not send ${failed} of ${objects + missing} objects of the prior`,
    );
  const lost = missing > 0 ? `, ${missing} more were refused at the door${refused > 0 ? ` (${refused})` : ''}` : '';
  return { found: `the prior has come: ${objects} objects${lost}`, prior, objects };
}
