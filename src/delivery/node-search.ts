/**
 * What else a node holds of a patient, and having it sent to us: C-FIND and C-MOVE (PS3.4 Annex C) or QIDO-RS and WADO-RS (PS3.18 10.4,
 * 10.6). Asked in true identities; nothing of an answer is logged or kept.
 */
import type { Node } from '../config/nodes.ts';
import type { TlsFiles } from '../config/tls-files.ts';
import { asciiValue, asciiValues, characterSetOf, tagKey, textValue, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { readDataSet } from '../dicom/reader.ts';
import { Refusal } from '../dicom/refusal.ts';
import { openSink, sinkBytes, writeText } from '../dicom/writer.ts';
import { openAssociation, release, abort, type Association } from '../dimse/scu.ts';
import { find, move } from '../dimse/scu-query.ts';
import { queryClassUID } from '../dimse/sop-classes.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN } from '../dicom/transfer-syntax.ts';
import { peerOf } from './destination.ts';
import { exchange, retrieveObject } from './stow-client.ts';

export interface NodeStudy {
  readonly studyInstanceUID: string;
  readonly patientID: string;
  readonly issuer: string;
  readonly birthDate: string;
  readonly date: string;
  readonly time: string;
  /** Empty where the node does not tell. */
  readonly modalities: readonly string[];
}

export interface NodeSeries {
  readonly seriesInstanceUID: string;
  readonly modality: string;
  readonly bodyPart: string;
  readonly description: string;
  /** Undefined where the node does not tell. */
  readonly instances: number | undefined;
}

/** A node that is being asked. */
export interface NodeSearch {
  /** All that it says to be this patient's; whether it truly is, the caller has to check. */
  studies(patientID: string): Promise<NodeStudy[]>;
  series(studyInstanceUID: string): Promise<NodeSeries[]>;
  /**
   * Has a series sent to us. By C-MOVE it comes to our own door, by WADO-RS object by object to `take`. Resolves with how many the node
   * could not send.
   */
  retrieve(studyInstanceUID: string, series: NodeSeries, take: TakeObject): Promise<number>;
  close(): Promise<void>;
}

/** Takes the bytes of one object; resolves when the next may come. */
export type TakeObject = (bytes: AsyncIterable<Buffer>) => Promise<void>;

export interface SearchOptions {
  /** Our AE title: who asks, and where a C-MOVE goes. */
  readonly aeTitle: string;
  /** Our certificate, for nodes that ask for one. */
  readonly tls?: TlsFiles | undefined;
}

/** Studies of one patient, or series of one study, that are looked at. */
const MOST_ANSWERS = 500;

/** @throws Refusal DeliveryFailed where the node cannot be reached */
export async function searchNode(node: Node, options: SearchOptions): Promise<NodeSearch> {
  return node.retrieveBy === 'dimse' ? searchByDimse(node, options) : searchByWeb(node);
}

const STUDY_KEYS = ['StudyDate', 'StudyTime', 'ModalitiesInStudy', 'IssuerOfPatientID', 'PatientBirthDate'] as const;
const SERIES_KEYS = ['Modality', 'SeriesDescription', 'BodyPartExamined', 'NumberOfSeriesRelatedInstances'] as const;

async function searchByDimse(node: Node, { aeTitle, tls }: SearchOptions): Promise<NodeSearch> {
  const { dimse } = node;
  if (dimse === undefined) throw new Refusal('BadConfiguration', `node ${node.name} has no dimse section`);
  const transferSyntaxUIDs = [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN];
  const association = await openAssociation({
    ...peerOf(dimse, tls),
    callingAE: aeTitle,
    contexts: (['find', 'move'] as const).map((operation) => ({
      sopClassUID: queryClassUID('study', operation),
      transferSyntaxUIDs,
    })),
    idleMs: MOVE_IDLE_MS,
  });
  return {
    async studies(patientID) {
      const keys = { PatientID: patientID, StudyInstanceUID: '' };
      const found = await findAll(association, identifierOf('STUDY', keys, STUDY_KEYS));
      return found.map((one) => studyOf((keyword) => textsOf(one, keyword)));
    },
    async series(studyInstanceUID) {
      const keys = { StudyInstanceUID: studyInstanceUID, SeriesInstanceUID: '' };
      const found = await findAll(association, identifierOf('SERIES', keys, SERIES_KEYS));
      return found.map((one) => seriesOf((keyword) => textsOf(one, keyword)));
    },
    async retrieve(studyInstanceUID, { seriesInstanceUID }) {
      const keys = { StudyInstanceUID: studyInstanceUID, SeriesInstanceUID: seriesInstanceUID };
      const identifier = identifierOf('SERIES', keys, []);
      const { status, failed } = await move(association, { root: 'study', identifier }, aeTitle);
      // 0xB000: some sub-operations failed; how many stands beside it (PS3.4 Table C.4-2).
      if (status !== 0 && status !== 0xb000)
        throw new Refusal('DeliveryFailed', `the node answered C-MOVE with status 0x${status.toString(16)}`);
      return failed;
    },
    async close() {
      try {
        await release(association);
      } catch {
        abort(association);
      }
    },
  };
}

/** A PACS may fetch from tape before it says its first word about a move. */
const MOVE_IDLE_MS = 300_000;

async function findAll(association: Association, identifier: DataSet): Promise<DataSet[]> {
  const found: DataSet[] = [];
  const status = await find(association, { root: 'study', identifier }, (match) => {
    found.push(match);
    return found.length < MOST_ANSWERS;
  });
  // 0xFE00: canceled, by us.
  if (status !== 0 && status !== 0xfe00)
    throw new Refusal('DeliveryFailed', `the node answered C-FIND with status 0x${status.toString(16)}`);
  return found;
}

function identifierOf(
  level: 'STUDY' | 'SERIES',
  keys: Readonly<Record<string, string>>,
  asked: readonly string[],
): DataSet {
  const values: Record<string, string> = { ...Object.fromEntries(asked.map((one) => [one, ''])), ...keys };
  values['QueryRetrieveLevel'] = level;
  if (Object.values(values).some((value) => /[^\x00-\x7f]/.test(value))) values['SpecificCharacterSet'] = 'ISO_IR 192';
  const sink = openSink();
  const sorted = Object.entries(values).sort(([a], [b]) => tag(a as Keyword) - tag(b as Keyword));
  for (const [keyword, value] of sorted) writeText(sink, tag(keyword as Keyword), VR_OF[keyword] ?? 'LO', value);
  const bytes = sinkBytes(sink);
  return readDataSet(bytes, 0, bytes.length, 'explicit-le', { complete: true }).dataSet;
}

type Keyword = Parameters<typeof tag>[0];
const VR_OF: Readonly<Record<string, 'CS' | 'DA' | 'TM' | 'UI' | 'LO' | 'IS'>> = {
  QueryRetrieveLevel: 'CS',
  SpecificCharacterSet: 'CS',
  StudyInstanceUID: 'UI',
  SeriesInstanceUID: 'UI',
  StudyDate: 'DA',
  StudyTime: 'TM',
  ModalitiesInStudy: 'CS',
  Modality: 'CS',
  BodyPartExamined: 'CS',
  PatientBirthDate: 'DA',
  NumberOfSeriesRelatedInstances: 'IS',
};

function textsOf(match: DataSet, keyword: string): string[] {
  const number = tag(keyword as Keyword);
  if (keyword === 'ModalitiesInStudy') return asciiValues(match, number);
  const value =
    VR_OF[keyword] === undefined ? textValue(match, number, characterSetOf(match)) : asciiValue(match, number);
  return value === undefined ? [] : [value];
}

async function searchByWeb({ name, dicomweb }: Node): Promise<NodeSearch> {
  if (dicomweb === undefined) throw new Refusal('BadConfiguration', `node ${name} has no dicomweb section`);
  const { url, authorization, timeoutMs } = dicomweb;
  const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
  const search = async (path: string, keys: readonly string[], more: Readonly<Record<string, string>> = {}) => {
    const query = new URLSearchParams({ ...more, limit: String(MOST_ANSWERS) });
    for (const keyword of keys) query.append('includefield', keyword);
    const accept = { ...headers, accept: 'application/dicom+json' };
    const answer = await exchange({
      method: 'GET',
      url: `${url}${path}?${query.toString()}`,
      headers: accept,
      timeoutMs,
    });
    if (answer.status === 204) return [];
    if (answer.status !== 200)
      throw new Refusal(
        'DeliveryFailed',
        `the node answered a search with status ${answer.status}; 200 or 204 is expected`,
      );
    return listOf(answer.body);
  };
  return {
    studies: async (patientID) =>
      (await search('/studies', STUDY_KEYS, { PatientID: patientID })).map((one) =>
        studyOf((keyword) => jsonTexts(one, keyword)),
      ),
    series: async (study) =>
      (await search(`/studies/${study}/series`, SERIES_KEYS)).map((one) =>
        seriesOf((keyword) => jsonTexts(one, keyword)),
      ),
    async retrieve(study, { seriesInstanceUID }, take) {
      const path = `/studies/${study}/series/${seriesInstanceUID}/instances`;
      let failed = 0;
      for (const uid of await instancesAt(search, path)) {
        const found = await retrieveObject({ url: `${url}${path}/${uid}`, headers, timeoutMs }, take);
        if (!found) failed++;
      }
      return failed;
    },
    close: () => Promise.resolve(),
  };
}

type Search = (path: string, keys: readonly string[], more?: Readonly<Record<string, string>>) => Promise<unknown[]>;

/** All of them, whatever the size of the node's pages. */
async function instancesAt(search: Search, path: string): Promise<Set<string>> {
  const uids = new Set<string>();
  for (;;) {
    const page = await search(path, [], { offset: String(uids.size) });
    const before = uids.size;
    for (const instance of page) for (const uid of jsonTexts(instance, 'SOPInstanceUID')) uids.add(uid);
    // Nothing new: the end, or a node that does not know offsets.
    if (uids.size === before) return uids;
  }
}

function listOf(body: Buffer): unknown[] {
  try {
    const answer: unknown = JSON.parse(body.toString('utf8'));
    if (Array.isArray(answer)) return answer;
  } catch {
    // Told below.
  }
  throw new Refusal(
    'DeliveryFailed',
    `the node answered a search with ${body.length} bytes that are no list of DICOM JSON`,
  );
}

function jsonTexts(item: unknown, keyword: string): string[] {
  const element = (item as Readonly<Record<string, { Value?: unknown } | undefined>> | null)?.[
    tagKey(tag(keyword as Keyword))
  ];
  const values = element?.Value;
  if (!Array.isArray(values)) return [];
  return values.filter((one) => typeof one === 'string' || typeof one === 'number').map((one) => String(one).trim());
}

type Texts = (keyword: string) => string[];

function studyOf(texts: Texts): NodeStudy {
  const one = (keyword: string) => (texts(keyword)[0] ?? '').trim();
  return {
    studyInstanceUID: one('StudyInstanceUID'),
    patientID: one('PatientID'),
    issuer: one('IssuerOfPatientID'),
    birthDate: one('PatientBirthDate'),
    date: one('StudyDate'),
    time: one('StudyTime'),
    modalities: texts('ModalitiesInStudy'),
  };
}

function seriesOf(texts: Texts): NodeSeries {
  const one = (keyword: string) => (texts(keyword)[0] ?? '').trim();
  const instances = one('NumberOfSeriesRelatedInstances');
  return {
    seriesInstanceUID: one('SeriesInstanceUID'),
    modality: one('Modality'),
    bodyPart: one('BodyPartExamined'),
    description: one('SeriesDescription'),
    instances: /^\d+$/.test(instances) ? Number(instances) : undefined,
  };
}
