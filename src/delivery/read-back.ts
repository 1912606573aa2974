/** Proof of arrival: the objects are searched in the node after the push, under the identity they were sent with (QIDO-RS). */
import { api } from 'dicomweb-client';
import type { Node } from '../config.ts';
import { Refusal } from '../dicom/refusal.ts';
import { NodeRequest } from './node-request.ts';

const SOP_INSTANCE_UID = '00080018';
const PATIENT_ID = '00100020';
const PAGE = 500;

type DicomJson = Readonly<Record<string, { readonly Value?: readonly unknown[] } | undefined>>;

/** SOP Instance UIDs that the node holds in this series. @throws Refusal DeliveryFailed */
export async function searchSeries(
  node: Node,
  studyInstanceUID: string,
  seriesInstanceUID: string,
): Promise<Set<string>> {
  const found = new Set<string>();
  for (let offset = 0; ; offset += PAGE) {
    const page = await ask(node, (client, request) =>
      client.searchForInstances({ studyInstanceUID, seriesInstanceUID, queryParams: { limit: PAGE, offset }, request }),
    );
    const before = found.size;
    for (const instance of page) found.add(String(instance[SOP_INSTANCE_UID]?.Value?.[0] ?? ''));
    if (page.length < PAGE || found.size === before) return found;
  }
}

/** Patient IDs under which the node holds this study: one, when all is well. @throws Refusal DeliveryFailed */
export async function searchPatientIDs(node: Node, studyInstanceUID: string): Promise<Set<string>> {
  const studies = await ask(node, (client, request) =>
    client.searchForStudies({ queryParams: { StudyInstanceUID: studyInstanceUID, includefield: PATIENT_ID }, request }),
  );
  return new Set(studies.map((study) => String(study[PATIENT_ID]?.Value?.[0] ?? '')));
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
): Promise<DicomJson[]> {
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
  return Array.isArray(answer) ? (answer as DicomJson[]) : [];
}
