/**
 * C-FIND, C-MOVE and C-GET for viewers without DICOMweb: answered from the archive, so from pseudonyms alone. Who may ask stands in
 * `dimse.viewers`; where C-MOVE may go, in nodes.yaml as a receiver of pseudonyms and nowhere else.
 */
import { withheldStudies } from '../archive/withheld.ts';
import { setImmediate } from 'node:timers/promises';
import { instanceOf, instancesOf, readInstanceBody, readInstanceHead, type InstanceRow } from '../archive/instances.ts';
import { countsOfPatient, searchPatients, studyUIDsOfPatient, type PatientCounts } from '../archive/patients.ts';
import { matchingKeys, search, type Level, type Match } from '../archive/search.ts';
import { recordAudit } from '../audit.ts';
import { codingOf, LOSSLESS_TARGETS } from '../codecs/syntaxes.ts';
import { peerOf } from '../delivery/destination.ts';
import { tagKey } from '../dicom/data-set.ts';
import { tag, vrOf } from '../dicom/dictionary.ts';
import { implicitDataSet, implicitHeader } from '../dicom/implicit-vr.ts';
import type { DicomJson, DicomJsonElement } from '../dicom/json.ts';
import { fromDicomJson } from '../dicom/json-reader.ts';
import { readHead } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, transferSyntax } from '../dicom/transfer-syntax.ts';
import type {
  Destination,
  FindRequest,
  FoundMatch,
  RetrievedObject,
  RetrieveRequest,
  Retrieval,
} from '../dimse/handlers.ts';
import type { AssociationInfo, ScpHandlers } from '../dimse/scp.ts';
import type { Gateway } from '../gateway.ts';
import {
  UNIQUE_KEY,
  levelsAbove,
  readQuery,
  readRetrieval,
  type AskedQuery,
  type AskedRetrieval,
  type QueryKey,
} from './query-identifier.ts';
import { transcodedIn } from './transcode.ts';

/** Matches of one look into the index: few enough not to hold up others, many enough to be worth one. */
const PAGE = 200;
/** A search that finds more wants to be narrowed: it ends as out of resources after so many. */
const MAX_MATCHES = 20_000;
/** Objects of one retrieval. */
const MAX_OBJECTS = 100_000;

export function queryHandlers(gateway: Gateway): Required<Pick<ScpHandlers, 'find' | 'retrieve'>> {
  return {
    find: (request) => findMatches(gateway, request),
    retrieve: (request) => Promise.resolve().then(() => retrieve(gateway, request)),
  };
}

/** @throws Refusal NotAuthorized */
function requireViewer(gateway: Gateway, { callingAE }: AssociationInfo): void {
  if (gateway.config.dimse.viewers.has(callingAE)) return;
  recordAudit(gateway.audit, 'Security Alert', callingAE, { action: 'query or retrieve', outcome: 'refused' });
  throw new Refusal('NotAuthorized', 'this AE title is not among dimse.viewers');
}

async function* findMatches(
  gateway: Gateway,
  { association, root, identifier }: FindRequest,
): AsyncGenerator<FoundMatch> {
  requireViewer(gateway, association);
  const query = readQuery(identifier, root);
  const searched = searchable(query);
  let matches = 0;
  try {
    for (;;) {
      const page = pageOf(gateway, query, searched.matches, matches);
      for (const found of page) {
        if (matches === MAX_MATCHES) throw new Refusal('TooLarge', `more than ${MAX_MATCHES} matches`);
        matches++;
        const shown = answerOf(gateway, association, query, levelsAbove(query.level, root), found);
        yield { identifier: fromDicomJson(shown), keysUnsupported: searched.keysUnsupported };
      }
      if (page.length < PAGE) return;
      // Others have their turn between two looks into the index.
      await setImmediate();
    }
  } finally {
    recordAudit(gateway.audit, 'Query', association.callingAE, { service: 'C-FIND', level: query.level, matches });
  }
}

const ARCHIVE_LEVEL = {
  PATIENT: 'study',
  STUDY: 'study',
  SERIES: 'series',
  IMAGE: 'instance',
} as const satisfies Record<AskedQuery['level'], Level>;
const PATIENT_KEYS: ReadonlySet<number> = new Set(
  ['PatientName', 'PatientID', 'PatientBirthDate', 'PatientSex'].map(tag),
);

interface Searchable {
  readonly matches: readonly Match[];
  /** Some key has a value that cannot be matched on: it is returned, and the peer is told (PS3.4 C.2.2.1.3). */
  readonly keysUnsupported: boolean;
}

function searchable({ level, keys }: AskedQuery): Searchable {
  const known = new Set(matchingKeys(ARCHIVE_LEVEL[level]).map((path) => path.join('.')));
  const given = keys.filter(({ value }) => value !== '' && !/^\*+$/.test(value));
  const matches = given.filter(
    ({ path }) => known.has(path.join('.')) && (level !== 'PATIENT' || PATIENT_KEYS.has(path[0] ?? 0)),
  );
  return { matches, keysUnsupported: matches.length < given.length };
}

/** What the index says of one match, with the counts that it has no attributes for. */
interface Found {
  readonly json: DicomJson;
  readonly counts?: PatientCounts;
}

function pageOf(gateway: Gateway, query: AskedQuery, matches: readonly Match[], offset: number): Found[] {
  const { archive } = gateway;
  if (query.level === 'PATIENT') {
    return searchPatients(archive, matches, { limit: PAGE, offset }).map(({ json, ...counts }) => ({ json, counts }));
  }
  const { results } = search(archive, {
    level: ARCHIVE_LEVEL[query.level],
    scope: { studyInstanceUID: query.studyInstanceUID, seriesInstanceUID: query.seriesInstanceUID },
    // The scope has said it already.
    matches: matches.filter(({ path }) => !isScope(query, path)),
    fuzzyMatching: false,
    includeFields: [[UNIQUE_KEY.PATIENT], ...query.keys.map(({ path }) => path.slice(0, 1))],
    limit: PAGE,
    offset,
  });
  return results.map((text) => ({ json: JSON.parse(text) as DicomJson }));
}

function isScope({ studyInstanceUID, seriesInstanceUID }: AskedQuery, path: readonly number[]): boolean {
  const [only] = path;
  if (path.length !== 1) return false;
  if (studyInstanceUID !== undefined && only === UNIQUE_KEY.STUDY) return true;
  return seriesInstanceUID !== undefined && only === UNIQUE_KEY.SERIES;
}

const KEY = {
  level: tagKey(tag('QueryRetrieveLevel')),
  retrieveAE: tagKey(tag('RetrieveAETitle')),
  availability: tagKey(tag('InstanceAvailability')),
  patientID: tagKey(tag('PatientID')),
  studiesOfPatient: tagKey(tag('NumberOfPatientRelatedStudies')),
  seriesOfPatient: tagKey(tag('NumberOfPatientRelatedSeries')),
  instancesOfPatient: tagKey(tag('NumberOfPatientRelatedInstances')),
} as const;
const COUNTS: readonly string[] = [KEY.studiesOfPatient, KEY.seriesOfPatient, KEY.instancesOfPatient];

/** Exactly what was asked for, the unique keys, and where to retrieve it from (PS3.4 C.4.1.1.3.2, C.4.1.1.3.3). */
function answerOf(
  gateway: Gateway,
  { calledAE }: AssociationInfo,
  { level, keys }: AskedQuery,
  above: readonly AskedQuery['level'][],
  found: Found,
): DicomJson {
  const shown: DicomJson = {
    [KEY.level]: { vr: 'CS', Value: [level] },
    [KEY.retrieveAE]: { vr: 'AE', Value: [calledAE] },
    [KEY.availability]: { vr: 'CS', Value: ['ONLINE'] },
  };
  const source = withCounts(gateway, keys, found);
  const asked = [...keys, ...[...above, level].map((one) => ({ path: [UNIQUE_KEY[one]], vr: 'UI' }))];
  for (const { path, vr } of asked) {
    const [first = 0] = path;
    const at = tagKey(first);
    // A patient's row shows one of the patient's studies.
    const isHere = level !== 'PATIENT' || first >>> 16 === 0x0010 || COUNTS.includes(at);
    shown[at] =
      (isHere ? source[at] : undefined) ?? ({ vr: vrOf(first) ?? (path.length > 1 ? 'SQ' : vr) } as DicomJsonElement);
  }
  return shown;
}

function withCounts(gateway: Gateway, keys: readonly QueryKey[], { json, counts }: Found): DicomJson {
  if (!keys.some(({ path }) => COUNTS.includes(tagKey(path[0] ?? 0)))) return json;
  const patient = json[KEY.patientID];
  const patientID = patient?.vr === 'LO' && 'Value' in patient ? (patient.Value?.[0] ?? '') : '';
  const found = counts ?? (patientID === '' ? undefined : countsOfPatient(gateway.archive, patientID));
  if (found === undefined) return json;
  return {
    ...json,
    [KEY.studiesOfPatient]: { vr: 'IS', Value: [found.studies] },
    [KEY.seriesOfPatient]: { vr: 'IS', Value: [found.series] },
    [KEY.instancesOfPatient]: { vr: 'IS', Value: [found.instances] },
  };
}

function retrieve(gateway: Gateway, { association, root, identifier, destinationAE }: RetrieveRequest): Retrieval {
  requireViewer(gateway, association);
  const destination = destinationAE === undefined ? undefined : destinationOf(gateway, destinationAE);
  // Nothing is looked up for a place that would not get it.
  if (destinationAE !== undefined && destination === undefined) return { objects: [], destination };
  const instances = instancesFor(gateway, readRetrieval(identifier, root));
  if (instances.length > MAX_OBJECTS) throw new Refusal('TooLarge', `more than ${MAX_OBJECTS} objects`);
  recordAudit(gateway.audit, 'Begin Transferring DICOM Instances', association.callingAE, {
    service: destinationAE === undefined ? 'C-GET' : 'C-MOVE',
    to: destinationAE ?? association.callingAE,
    objects: instances.length,
  });
  return { objects: instances.map((instance) => retrievedObject(gateway, instance)), destination };
}

/** Only a receiver of pseudonyms, by its AE title; a node that receives results never is one. */
function destinationOf(gateway: Gateway, destinationAE: string): Destination | undefined {
  const receiver = gateway.config.receivers.get(destinationAE);
  if (receiver === undefined) return undefined;
  const { calledAE, ...address } = peerOf(receiver.dimse, gateway.config.dimse.tls);
  return { ...address, aeTitle: calledAE };
}

/** What verification holds back is not there for viewers. */
function instancesFor(gateway: Gateway, asked: AskedRetrieval): InstanceRow[] {
  const hidden = withheldStudies(gateway.archive);
  return storedFor(gateway, asked).filter(({ studyInstanceUID }) => !hidden.has(studyInstanceUID));
}

function storedFor(gateway: Gateway, asked: AskedRetrieval): InstanceRow[] {
  const { archive } = gateway;
  const { level, wanted, patientID, studyInstanceUID, seriesInstanceUID } = asked;
  const ofPatient = patientID === undefined ? undefined : new Set(studyUIDsOfPatient(archive, patientID));
  if (ofPatient !== undefined && studyInstanceUID !== undefined && !ofPatient.has(studyInstanceUID)) return [];
  switch (level) {
    case 'PATIENT':
      return wanted
        .flatMap((one) => studyUIDsOfPatient(archive, one))
        .flatMap((one) => instancesOf(archive, { studyInstanceUID: one }));
    case 'STUDY':
      return [...new Set(wanted)]
        .filter((one) => ofPatient?.has(one) !== false)
        .flatMap((one) => instancesOf(archive, { studyInstanceUID: one }));
    case 'SERIES':
      return [...new Set(wanted)].flatMap((one) =>
        instancesOf(archive, { studyInstanceUID: studyInstanceUID ?? '', seriesInstanceUID: one }),
      );
    case 'IMAGE':
      return [...new Set(wanted)].flatMap((one) => instanceOf(archive, one, studyInstanceUID, seriesInstanceUID) ?? []);
    default:
      return level satisfies never;
  }
}

/**
 * As it was stored, before anything that has to be made: native, Implicit VR, which every receiver has to take (PS3.5 10.1), and of what
 * is not lossy the lossless syntaxes. What was lossy says so in its native form too (PS3.3 C.7.6.1.1.5).
 */
function retrievedObject(gateway: Gateway, instance: InstanceRow): RetrievedObject {
  const { sopClassUID, sopInstanceUID, transferSyntaxUID } = instance;
  return {
    sopClassUID,
    sopInstanceUID,
    transferSyntaxUIDs: syntaxesOf(instance),
    async dataSet(as) {
      const to = as === IMPLICIT_VR_LITTLE_ENDIAN ? EXPLICIT_VR_LITTLE_ENDIAN : as;
      const { bytes, body } =
        to === transferSyntaxUID
          ? {
              bytes: await readInstanceHead(gateway.archive, instance),
              body: readInstanceBody(gateway.archive, instance),
            }
          : await madeIn(gateway, instance, to);
      const { dataSet, pixelData } = readHead(bytes).head;
      const head =
        as === to
          ? bytes.subarray(dataSet.start)
          : Buffer.concat([
              implicitDataSet(dataSet),
              ...(pixelData === undefined ? [] : [implicitHeader(pixelData.tag, pixelData.lengthBytes ?? 0)]),
            ]);
      return joined(head, body);
    },
  };
}

async function madeIn(
  gateway: Gateway,
  instance: InstanceRow,
  to: string,
): Promise<{ bytes: Buffer; body: AsyncIterable<Buffer> }> {
  const { head, body } = await transcodedIn(gateway, instance, to);
  return { bytes: head, body };
}

function syntaxesOf({ transferSyntaxUID: own, frameCount }: InstanceRow): string[] {
  const native = [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN];
  const isNative = own === EXPLICIT_VR_LITTLE_ENDIAN;
  if (frameCount === 0 || codingOf(own) === undefined) return isNative ? native : [own];
  const lossless = transferSyntax(own)?.compression === 'lossy' ? [] : LOSSLESS_TARGETS;
  return [...new Set([own, ...native, ...lossless])];
}

async function* joined(head: Buffer, body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield head;
  yield* body;
}
