/** What the one who starts an SCP hands in: the protocol knows no archive and no gateway. */
import type { DataSet } from '../dicom/data-set.ts';
import type { CommitmentReport, ReferencedInstance } from './commitment.ts';
import type { DataSetSource } from './message.ts';
import type { ScuTls } from './scu.ts';
import type { QueryRoot } from './sop-classes.ts';

export interface AssociationInfo {
  /** Ours, random; ties the events of one association together. */
  readonly id: string;
  readonly callingAE: string;
  readonly calledAE: string;
  readonly remoteAddress: string;
  readonly tls: boolean;
}

export interface StoreRequest {
  readonly association: AssociationInfo;
  readonly sopClassUID: string;
  readonly sopInstanceUID: string;
  readonly transferSyntaxUID: string;
  /** The data set as it arrives, without file meta information; throws when the peer goes away before its end. */
  readonly dataSet: AsyncIterable<Buffer>;
  /** The AE whose C-MOVE led to this object. */
  readonly moveOriginatorAE: string | undefined;
}

export interface FindRequest {
  readonly association: AssociationInfo;
  readonly root: QueryRoot;
  /** In the peer's character set and encoding. */
  readonly identifier: DataSet;
}

export interface FoundMatch {
  /** In Explicit VR Little Endian; sent in the negotiated syntax. */
  readonly identifier: DataSet;
  /** Some optional key of the request was not matched on (PS3.4 C.2.2.1.3): status FF01. */
  readonly keysUnsupported: boolean;
}

export interface RetrieveRequest extends FindRequest {
  /** Of a C-MOVE; undefined for C-GET. */
  readonly destinationAE: string | undefined;
}

export interface RetrievedObject {
  readonly sopClassUID: string;
  readonly sopInstanceUID: string;
  /** Those it can be sent in, its own first. */
  readonly transferSyntaxUIDs: readonly string[];
  /** Without file meta information; asked for when its turn has come. */
  dataSet(transferSyntaxUID: string): Promise<DataSetSource>;
}

export interface Destination {
  readonly host: string;
  readonly port: number;
  readonly aeTitle: string;
  readonly tls?: ScuTls;
}

export interface Retrieval {
  readonly objects: readonly RetrievedObject[];
  /** Where a C-MOVE goes; undefined where the destination is unknown, or may not receive. */
  readonly destination: Destination | undefined;
}

export interface CommitmentRequest {
  readonly association: AssociationInfo;
  readonly transactionUID: string;
  readonly instances: readonly ReferencedInstance[];
}

export interface ScpHandlers {
  /**
   * Resolves with the DIMSE status to answer, after the object is durable. A Refusal answers with its own status, any other
   * error with 0x0110; the association lives on in both cases. Bytes not read are thrown away.
   */
  store(request: StoreRequest): Promise<number>;
  /** C-FIND. Read one by one as fast as the peer takes them; returned early when it cancels. Absent: not offered. */
  find?(request: FindRequest): AsyncIterable<FoundMatch>;
  /** C-MOVE and C-GET: which objects. Absent: not offered. */
  retrieve?(request: RetrieveRequest): Promise<Retrieval>;
  /**
   * Storage commitment is asked of us (N-ACTION). Resolves when the request is durable or decided; a report in the answer goes out on
   * this association, otherwise the handler sees to it. Absent: not offered.
   */
  commit?(request: CommitmentRequest): Promise<CommitmentReport | undefined>;
  /** Somebody reports the commitment that we asked for (N-EVENT-REPORT); resolves with the status to answer. Absent: not offered. */
  committed?(association: AssociationInfo, report: CommitmentReport): Promise<number>;
  /** The association is over, in an orderly way or not, and the last request has come to its end. */
  closed?(association: AssociationInfo, how: 'released' | 'aborted'): void;
  /** Structured events for the log: names, ids and numbers only. */
  event?(name: string, facts: Record<string, string | number>): void;
}
