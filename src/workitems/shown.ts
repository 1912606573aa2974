/** What the gateway's own work shows of itself as a Unified Procedure Step: pseudonyms, which pipeline, how far, what came of it. */
import type { DicomJson } from '../dicom/json.ts';
import { newUid } from '../dicom/uid.ts';
import type { WorkItem } from '../workitems.ts';
import { codeItem, elementOf, formatDateTime, itemsOf, put, textOf, UPS_PUSH, valuesOf } from './attributes.ts';
import type { Notices } from './events.ts';
import { cancelStep, changeStep, createStep, stepOfWork, type Step } from './steps.ts';

/** A series and those of its objects that are meant. */
export interface SeriesReference {
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID: string;
  readonly instances: readonly { readonly sopClassUID: string; readonly sopInstanceUID: string }[];
}

export interface Shown {
  /** A pseudonym. */
  readonly patientID?: string;
  readonly inputs?: readonly SeriesReference[];
}

type Work = Pick<WorkItem, 'uid' | 'kind' | 'studyInstanceUID' | 'parameters'>;

const STATION = codeItem('ISTHMUS', '99ISTHMUS', 'Isthmus');
const WORKLIST_LABEL = 'ISTHMUS';

/** A first step has the work item's UID; one that follows a canceled step replaces that one. */
export function showScheduled(notices: Notices, work: Work, { patientID = '', inputs = [] }: Shown): void {
  const earlier = stepOfWork(notices, work.uid);
  const object: DicomJson = {};
  const now = formatDateTime(notices.now());
  put(object, 'ScheduledProcedureStepPriority', 'MEDIUM');
  put(object, 'ProcedureStepLabel', labelOf(work));
  put(object, 'WorklistLabel', WORKLIST_LABEL);
  put(object, 'ScheduledStationNameCodeSequence', STATION);
  put(object, 'ScheduledProcedureStepStartDateTime', now);
  put(object, 'ScheduledWorkitemCodeSequence', codeOf(work));
  put(object, 'InputReadinessState', 'READY');
  put(object, 'InputInformationSequence', ...inputs.map(informationItem));
  put(object, 'StudyInstanceUID', work.studyInstanceUID);
  put(object, 'PatientID', ...(patientID === '' ? [] : [patientID]));
  for (const keyword of EMPTY) put(object, keyword);
  if (earlier !== undefined) {
    const kept = ['InputInformationSequence', 'PatientID'];
    for (const keyword of kept) put(object, keyword, ...valuesOf(elementOf(earlier.object, keyword)));
    const replaced: DicomJson = {};
    put(replaced, 'ReferencedSOPClassUID', UPS_PUSH);
    put(replaced, 'ReferencedSOPInstanceUID', earlier.uid);
    put(object, 'ReplacedProcedureStepSequence', replaced);
  }
  createStep(notices, earlier === undefined ? work.uid : newUid(), object, work.uid);
}

/** Of type 2, which has to be there when a step is made (PS3.4 table CC.2.5-3). */
const EMPTY = [
  'ScheduledProcessingParametersSequence',
  'ScheduledStationClassCodeSequence',
  'ScheduledStationGeographicLocationCodeSequence',
  'CommentsOnTheScheduledProcedureStep',
  'PatientName',
  'IssuerOfPatientID',
  'PatientBirthDate',
  'PatientSex',
  'AdmissionID',
  'IssuerOfAdmissionIDSequence',
  'AdmittingDiagnosesDescription',
  'AdmittingDiagnosesCodeSequence',
  'ReferencedRequestSequence',
  'ProcedureStepProgressInformationSequence',
  'UnifiedProcedureStepPerformedProcedureSequence',
];

function labelOf({ kind, parameters }: Work): string {
  const what = kind === 'derive' ? parameters['pipeline'] : parameters['node'];
  return `${kind}${typeof what === 'string' ? ` ${what}` : ''}`.slice(0, 64);
}

function codeOf({ kind }: Work): DicomJson {
  switch (kind) {
    case 'derive':
      return codeItem('110001', 'DCM', 'Image Processing');
    case 'deliver':
      return codeItem('deliver', '99ISTHMUS', 'Delivery of derived objects');
    case 'fetch':
      return codeItem('fetch', '99ISTHMUS', 'Fetching of a prior');
    default:
      return kind satisfies never;
  }
}

function informationItem({ studyInstanceUID, seriesInstanceUID, instances }: SeriesReference): DicomJson {
  const item: DicomJson = {};
  put(item, 'TypeOfInstances', 'DICOM');
  put(item, 'StudyInstanceUID', studyInstanceUID);
  put(item, 'SeriesInstanceUID', seriesInstanceUID);
  const references = instances.map(({ sopClassUID, sopInstanceUID }) => {
    const reference: DicomJson = {};
    put(reference, 'ReferencedSOPClassUID', sopClassUID);
    put(reference, 'ReferencedSOPInstanceUID', sopInstanceUID);
    return reference;
  });
  put(item, 'ReferencedSOPSequence', ...references);
  return item;
}

/** Work begins; a further attempt only says so, since a step in progress stays that. */
export function showAttempt(notices: Notices, item: WorkItem): void {
  const step = stepOfWork(notices, item.uid);
  if (step === undefined) return;
  const changes = progressChanges(step, 0, `attempt ${item.attempts} of ${item.maxAttempts}`);
  const performed = itemsOf(step.object, 'UnifiedProcedureStepPerformedProcedureSequence')[0] ?? {};
  put(performed, 'PerformedStationNameCodeSequence', STATION);
  if (textOf(performed, 'PerformedProcedureStepStartDateTime') === undefined)
    put(performed, 'PerformedProcedureStepStartDateTime', formatDateTime(notices.now()));
  put(performed, 'PerformedWorkitemCodeSequence', codeOf(item));
  put(performed, 'OutputInformationSequence');
  put(changes, 'UnifiedProcedureStepPerformedProcedureSequence', performed);
  if (step.state === 'SCHEDULED')
    changeStep(notices, step, { changes, state: 'IN PROGRESS', transactionUID: newUid() });
  else if (step.state === 'IN PROGRESS') changeStep(notices, step, { changes });
}

/** `share` from 0 to 1; every tenth and every new step is told, nothing between. */
export function showProgress(notices: Notices, work: string, what: string, share: number): void {
  notices.database.transaction(() => {
    const step = stepOfWork(notices, work);
    if (step?.state === 'IN PROGRESS') changeStep(notices, step, { changes: progressChanges(step, share, what) });
  });
}

function progressChanges(step: Step, share: number, what: string): DicomJson {
  const progress = { ...itemsOf(step.object, 'ProcedureStepProgressInformationSequence')[0] };
  put(progress, 'ProcedureStepProgress', Math.round(Math.min(1, Math.max(0, share)) * 100));
  put(progress, 'ProcedureStepProgressDescription', what.slice(0, 1024));
  const changes: DicomJson = {};
  put(changes, 'ProcedureStepProgressInformationSequence', progress);
  return changes;
}

/** An attempt failed and another one will follow. */
export function showFailure(notices: Notices, item: WorkItem, error: string): void {
  const step = stepOfWork(notices, item.uid);
  if (step?.state !== 'IN PROGRESS') return;
  const what = `attempt ${item.attempts} of ${item.maxAttempts} failed: ${error}`;
  changeStep(notices, step, { changes: progressChanges(step, 0, what) });
}

export function showCompleted(notices: Notices, item: WorkItem, outputs: readonly SeriesReference[]): void {
  const step = stepOfWork(notices, item.uid);
  if (step?.state !== 'IN PROGRESS') return;
  const performed = { ...itemsOf(step.object, 'UnifiedProcedureStepPerformedProcedureSequence')[0] };
  put(performed, 'PerformedProcedureStepEndDateTime', formatDateTime(notices.now()));
  put(performed, 'OutputInformationSequence', ...outputs.map(informationItem));
  const changes = progressChanges(step, 1, 'done');
  put(changes, 'UnifiedProcedureStepPerformedProcedureSequence', performed);
  changeStep(notices, step, { changes, state: 'COMPLETED' });
}

/** `lastError` tells why, and holds no patient's value. */
export function showCanceled(notices: Notices, item: WorkItem): void {
  const step = stepOfWork(notices, item.uid);
  if (step === undefined || step.state === 'COMPLETED' || step.state === 'CANCELED') return;
  const reason: DicomJson = {};
  put(reason, 'ReasonForCancellation', item.lastError ?? 'the work failed');
  cancelStep(notices, step, reason);
}
