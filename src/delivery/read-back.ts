/** Proof of arrival: the objects are searched in the node after the push, under the identity they were sent with (QIDO-RS). */
import { api } from 'dicomweb-client';
import type { Node } from '../config/nodes.ts';
import { Refusal } from '../dicom/refusal.ts';
import { NodeRequest } from './node-request.ts';

const SOP_INSTANCE_UID = '00080018';
const PATIENT_ID = '00100020';
const PAGE = 500;
/** More instances than any series has: a node that never comes to an end. */
const MOST_SEEN = 100_000;

export interface SeriesSearch {
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID: string;
  /** SOP Instance UIDs: the search ends when all have been seen. */
  readonly wanted: ReadonlySet<string>;
}

/** Those of the wanted objects that the node holds in this series, whatever the size of its pages. @throws Refusal DeliveryFailed */
export async function searchSeries(
  node: Node,
  { studyInstanceUID, seriesInstanceUID, wanted }: SeriesSearch,
): Promise<Set<string>> {
  const seen = new Set<string>();
  const found = new Set<string>();
  let offset = 0;
  while (found.size < wanted.size) {
    const queryParams = { limit: PAGE, offset };
    const page = await ask(node, (client, request) =>
      client.searchForInstances({ studyInstanceUID, seriesInstanceUID, queryParams, request }),
    );
    const before = seen.size;
    for (const instance of page) {
      const uid = firstValue(instance, SOP_INSTANCE_UID);
      seen.add(uid);
      if (wanted.has(uid)) found.add(uid);
    }
    // Nothing new: the end, or a node that does not know offsets.
    if (seen.size === before || seen.size > MOST_SEEN) break;
    offset += page.length;
  }
  return found;
}

/** Patient IDs under which the node holds this study: one, when all is well. @throws Refusal DeliveryFailed */
export async function searchPatientIDs(node: Node, studyInstanceUID: string): Promise<Set<string>> {
  const studies = await ask(node, (client, request) =>
    client.searchForStudies({ queryParams: { StudyInstanceUID: studyInstanceUID, includefield: PATIENT_ID }, request }),
  );
  return new Set(studies.map((study) => firstValue(study, PATIENT_ID)));
}

/** Empty where the answer has none, or is no DICOM JSON at all. */
function firstValue(item: unknown, key: string): string {
  const element = typeof item === 'object' && item !== null ? (item as Record<string, unknown>)[key] : undefined;
  const values = typeof element === 'object' && element !== null && 'Value' in element ? element.Value : undefined;
  const value: unknown = Array.isArray(values) ? values[0] : undefined;
  return typeof value === 'string' ? value.trim() : '';
}

/** The searches as they truly are: the package's declarations leave out the request and call a promise a list. */
interface SearchOptions {
  readonly studyInstanceUID?: string;
  readonly seriesInstanceUID?: string;
  readonly queryParams: Readonly<Record<string, string | number>>;
  readonly request: { readonly instance: NodeRequest };
}
interface SearchClient {
  searchForInstances(options: SearchOptions): Promise<unknown>;
  searchForStudies(options: SearchOptions): Promise<unknown>;
}

async function ask(
  node: Node,
  search: (client: SearchClient, request: { instance: NodeRequest }) => Promise<unknown>,
): Promise<unknown[]> {
  const { dicomweb } = node;
  if (dicomweb === undefined)
    throw new Refusal('BadConfiguration', `node ${node.name} has no dicomweb section to read back from`);
  const client = new api.DICOMwebClient({
    url: dicomweb.url,
    headers: dicomweb.authorization === undefined ? {} : { Authorization: dicomweb.authorization },
    verbose: false,
    singlepart: '',
  }) as unknown as SearchClient;
  const request = new NodeRequest(dicomweb.timeoutMs);
  let answer: unknown;
  try {
    answer = await search(client, { instance: request });
  } catch {
    throw new Refusal(
      'DeliveryFailed',
      `the node answered a search with status ${request.status}; 200 or 204 is expected`,
    );
  }
  return Array.isArray(answer) ? answer : [];
}
