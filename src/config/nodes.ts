/** nodes.yaml: who takes results, re-identified, and who takes pseudonyms. No place is both. */
import { isLoopback } from '../access.ts';
import { Refusal } from '../dicom/refusal.ts';
import { readPem } from './tls-files.ts';
import type { LocatedYaml } from './yaml-file.ts';

export interface DimseAddress {
  readonly aeTitle: string;
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  readonly authorities: string | undefined;
  /** C-STORE side by side, at most. */
  readonly associations: number;
}

/** Takes objects as they lie in the archive, by C-MOVE. No `Node`, so that neither can be taken for the other. */
export interface Receiver {
  readonly name: string;
  readonly dimse: DimseAddress;
}

/** Takes results, re-identified. */
export interface Node {
  readonly name: string;
  readonly dimse: DimseAddress | undefined;
  readonly dicomweb:
    { readonly url: string; readonly authorization: string | undefined; readonly timeoutMs: number } | undefined;
  readonly deliverBy: 'dimse' | 'dicomweb';
  readonly proof: Proof;
  /** How priors come from it. */
  readonly retrieveBy: 'dimse' | 'dicomweb';
}

export type Proof = 'read-back' | 'status' | 'storage-commitment';

interface NodesFile {
  readonly nodes: Readonly<Record<string, ResultNodeFile | ReceiverFile>>;
}

interface DimseAddressFile {
  readonly aeTitle: string;
  readonly host: string;
  readonly port: number;
  readonly tls?: boolean;
  readonly authorities?: string;
  readonly associations?: number;
}

interface ResultNodeFile {
  readonly receives?: 'results';
  readonly dimse?: DimseAddressFile;
  readonly dicomweb?: { readonly url: string; readonly authorization?: string; readonly timeoutSeconds?: number };
  readonly deliverBy: 'dimse' | 'dicomweb';
  readonly proof: Proof;
  readonly retrieveBy?: 'dimse' | 'dicomweb';
}

interface ReceiverFile {
  readonly receives: 'pseudonyms';
  readonly dimse: DimseAddressFile;
}

interface Nodes {
  readonly nodes: Map<string, Node>;
  readonly receivers: Map<string, Receiver>;
}

/** @throws Refusal BadConfiguration where an entry lacks what it says it uses */
export function nodesOf({ value, lineOf }: LocatedYaml, folder: string): Nodes {
  const nodes = new Map<string, Node>();
  const receivers = new Map<string, Receiver>();
  for (const [name, node] of Object.entries((value as NodesFile).nodes)) {
    const refuse = (key: string, sentence: string): never => {
      throw new Refusal(
        'BadConfiguration',
        `nodes.yaml line ${lineOf(['nodes', name, key])}: node ${name} ${sentence}`,
      );
    };
    const dimse = node.dimse && addressOf(node.dimse, folder);
    if (node.receives === 'pseudonyms') {
      const address = dimse ?? refuse('dimse', 'receives pseudonyms but has no dimse section');
      const { aeTitle } = address;
      if (receivers.has(aeTitle)) refuse('dimse', 'has the AE title of another receiver of pseudonyms');
      receivers.set(aeTitle, { name, dimse: address });
      continue;
    }
    if (node[node.deliverBy] === undefined)
      refuse('deliverBy', `delivers by ${node.deliverBy} but has no ${node.deliverBy} section`);
    if (node.proof === 'read-back' && node.dicomweb === undefined)
      refuse('proof', 'has proof read-back, which needs a dicomweb section');
    if (node.proof === 'storage-commitment' && dimse === undefined)
      refuse('proof', 'has proof storage-commitment, which needs a dimse section');
    const retrieveBy = node.retrieveBy ?? (dimse === undefined ? 'dicomweb' : 'dimse');
    if (node[retrieveBy] === undefined)
      refuse('retrieveBy', `is searched by ${retrieveBy} but has no ${retrieveBy} section`);
    nodes.set(name, {
      name,
      dimse,
      dicomweb: node.dicomweb && {
        url: node.dicomweb.url.replace(/\/$/, ''),
        authorization: node.dicomweb.authorization,
        timeoutMs: (node.dicomweb.timeoutSeconds ?? 60) * 1000,
      },
      deliverBy: node.deliverBy,
      proof: node.proof,
      retrieveBy,
    });
  }
  refuseTwoFaces(nodes, receivers, (name) => lineOf(['nodes', name]));
  return { nodes, receivers };
}

/** One place cannot take both the true identity and the pseudonyms of patients: one of the two entries is a mistake. */
function refuseTwoFaces(
  nodes: ReadonlyMap<string, Node>,
  receivers: ReadonlyMap<string, Receiver>,
  lineOf: (name: string) => number,
): void {
  for (const receiver of receivers.values()) {
    for (const { name, dimse, dicomweb } of nodes.values()) {
      const { aeTitle, host, port } = receiver.dimse;
      const same =
        dimse !== undefined &&
        (dimse.aeTitle === aeTitle || (hostKey(dimse.host) === hostKey(host) && dimse.port === port));
      if (!same && (dicomweb === undefined || !isAt(dicomweb.url, host, port))) continue;
      throw new Refusal(
        'BadConfiguration',
        `nodes.yaml line ${lineOf(receiver.name)}: node ${receiver.name} receives pseudonyms but has the AE title or address of ${name}, which receives results`,
      );
    }
  }
}

/** Names of this machine are one. */
function hostKey(host: string): string {
  const lower = host.toLowerCase().replace(/\.$/, '');
  return isLocal(lower) ? 'localhost' : lower;
}

function isAt(url: string, host: string, port: number): boolean {
  const at = new URL(url);
  return hostKey(at.hostname) === hostKey(host) && Number(at.port) === port;
}

function addressOf(dimse: DimseAddressFile, folder: string): DimseAddress {
  return {
    aeTitle: dimse.aeTitle,
    host: dimse.host,
    port: dimse.port,
    tls: dimse.tls ?? false,
    authorities: dimse.authorities === undefined ? undefined : readPem(dimse.authorities, folder),
    associations: dimse.associations ?? 4,
  };
}

/** Whether what listens there can be reached from this machine alone. */
export function isLocal(host: string): boolean {
  return host === 'localhost' || isLoopback(host);
}
