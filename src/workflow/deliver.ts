/**
 * Derived series go home: re-identified in memory, pushed to a node, searched there as proof, written into the ledger.
 * Every attempt continues where the last one stopped: what the ledger calls proven is not sent again, and what was pushed without proof is
 * searched before it is sent a second time.
 */
import { instancesOf, readInstanceBody, readInstanceHead, type InstanceRow } from '../archive/instances.ts';
import { studyOf } from '../archive/studies.ts';
import { recordAudit } from '../audit.ts';
import type { Node, Proof } from '../config/nodes.ts';
import { resolveUid } from '../deidentify/crosswalk.ts';
import { reidentify } from '../deidentify/reidentify.ts';
import {
  abandonTransaction,
  askForCommitment,
  openTransaction,
  transactionOf,
  waitingSince,
} from '../delivery/commitment.ts';
import { ledgerState, writeLedger, type LedgerRow, type LedgerState } from '../delivery/ledger.ts';
import type { Delivered, Outgoing } from '../delivery/outgoing.ts';
import { push } from '../delivery/push.ts';
import { searchPatientIDs, searchSeries } from '../delivery/read-back.ts';
import { asciiValue, textValue } from '../dicom/data-set.ts';
import { readHead } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { newUid } from '../dicom/uid.ts';
import type { Gateway } from '../gateway.ts';
import { scheduleWork, type WorkItem } from '../workitems.ts';
import type { Shown } from '../workitems/shown.ts';
import { takeReport } from './commit.ts';
import { rememberOutgoing } from './returning.ts';

/** About a day with the queue's back-off. */
const DELIVER_ATTEMPTS = 30;

export interface DeliverParameters {
  readonly project: string;
  readonly node: string;
  /** Pseudonyms of the derived series; nothing else of the study goes out. */
  readonly seriesInstanceUIDs: readonly string[];
}

/** One item per node, so that a dead node delays no other. */
export function scheduleDelivery(
  gateway: Gateway,
  studyInstanceUID: string,
  key: string,
  parameters: DeliverParameters,
): void {
  scheduleWork(gateway.workItems, {
    kind: 'deliver',
    key: `${key} ${parameters.node}`,
    studyInstanceUID,
    parameters: { ...parameters },
    maxAttempts: DELIVER_ATTEMPTS,
    shown: shownSeries(
      gateway,
      studyInstanceUID,
      parameters.seriesInstanceUIDs.map((seriesInstanceUID) => ({ studyInstanceUID, seriesInstanceUID })),
    ),
  });
}

/** What a work item's step says of whom and what it is about. */
export function shownSeries(
  { archive }: Gateway,
  studyInstanceUID: string,
  series: readonly { readonly studyInstanceUID: string; readonly seriesInstanceUID: string }[],
): Shown {
  const study = studyOf(archive, studyInstanceUID);
  return {
    ...(study === undefined ? {} : { patientID: study.patientID }),
    inputs: series.map((name) => ({
      ...name,
      instances: instancesOf(archive, name).map(({ sopClassUID, sopInstanceUID }) => ({ sopClassUID, sopInstanceUID })),
    })),
  };
}

export interface DeliverResult {
  readonly node: string;
  readonly objects: number;
  readonly proof: Proof;
}

/** Everything has gone; the node's commitment is still to come. */
export interface DeliverWait {
  readonly waitUntil: number;
  /** What the node had refused was sent again, or its word had not come in time. */
  readonly counts: boolean;
}

/** A node that has not reported a commitment after so long is asked again. */
const ASK_AGAIN_MS = 6 * 3_600_000;
/** References of one request for commitment. */
const COMMITMENT_PORTION = 1000;

/** An object on its way, under both its names. */
interface Travelling {
  readonly instance: InstanceRow;
  readonly outgoing: Outgoing;
  readonly outwardSeriesUID: string;
  readonly patientID: string;
}

/** @throws Refusal DeliveryFailed (worth another attempt), Unresolved and others (not) */
export async function deliver(
  gateway: Gateway,
  item: WorkItem,
  signal?: AbortSignal,
): Promise<DeliverResult | DeliverWait> {
  const { project, node: nodeName, seriesInstanceUIDs } = item.parameters as unknown as DeliverParameters;
  const node = gateway.config.nodes.get(nodeName);
  if (node === undefined) throw new Refusal('BadConfiguration', `node ${nodeName} is no longer in nodes.yaml`);
  const { studyInstanceUID } = item;
  const instances = seriesInstanceUIDs.flatMap((seriesInstanceUID) =>
    instancesOf(gateway.archive, { studyInstanceUID, seriesInstanceUID }),
  );
  const delivery: Delivery = {
    gateway,
    node,
    project,
    producedAt: new Date(item.createdAt),
    ...(signal === undefined ? {} : { signal }),
  };
  const earlier = inState(delivery, instances, 'pushed');
  const refusedBefore = inState(delivery, instances, 'refused');
  await proveEarlierPushes(delivery, earlier);
  // What the node has taken it need not take again to commit itself to it.
  const isOpen = (state: LedgerState | undefined): boolean =>
    state !== 'proven' && !(state === 'pushed' && node.proof === 'storage-commitment');
  const open = instances.filter((instance) => isOpen(stateOf(delivery, instance)));
  const { taken, refused } = await pushAll(delivery, open);
  const missing = await prove(delivery, taken);
  refuseUnlessAll(refused, missing, open.length);
  if (node.proof === 'storage-commitment') {
    const overdue = await askForMissing(delivery, studyInstanceUID, inState(delivery, instances, 'pushed'));
    const waiting = instances.filter((instance) => stateOf(delivery, instance) !== 'proven').length;
    const counts = overdue || refusedBefore.length > 0;
    if (waiting > 0) {
      if (counts && item.attempts >= item.maxAttempts)
        throw new Refusal('DeliveryFailed', `the node has not committed itself to ${waiting} objects`);
      return { waitUntil: gateway.now() + ASK_AGAIN_MS, counts };
    }
  }
  recordAudit(gateway.audit, 'Export', 'isthmus', {
    study: studyInstanceUID,
    node: nodeName,
    objects: instances.length,
  });
  return { node: nodeName, objects: instances.length, proof: node.proof };
}

/** One attempt to bring results to a node. */
interface Delivery {
  readonly gateway: Gateway;
  readonly node: Node;
  readonly project: string;
  readonly producedAt: Date;
  readonly signal?: AbortSignal;
}

function stateOf({ gateway, node }: Delivery, { sopInstanceUID }: InstanceRow): LedgerState | undefined {
  return ledgerState(gateway.database, node.name, sopInstanceUID);
}

function inState(delivery: Delivery, instances: readonly InstanceRow[], state: LedgerState): InstanceRow[] {
  return instances.filter((instance) => stateOf(delivery, instance) === state);
}

/** Asks for the commitment to what has gone and is not waited for already. True: the node's word had not come in time. */
async function askForMissing(
  delivery: Delivery,
  studyInstanceUID: string,
  pushed: readonly InstanceRow[],
): Promise<boolean> {
  const { gateway, node, project } = delivery;
  const { database } = gateway;
  const overdueBefore = gateway.now() - ASK_AGAIN_MS;
  const since = new Map(pushed.map((one) => [one, waitingSince(database, node.name, one.sopInstanceUID)]));
  const missing = pushed.filter((one) => (since.get(one) ?? -Infinity) <= overdueBefore);
  for (let at = 0; at < missing.length; at += COMMITMENT_PORTION) {
    const portion = missing.slice(at, at + COMMITMENT_PORTION);
    const outward = portion.map(({ sopClassUID, sopInstanceUID }) => ({
      sopClassUID,
      sopInstanceUID: resolveUid(gateway.wall, project, sopInstanceUID) ?? '',
    }));
    const transactionUID = newUid();
    openTransaction(database, {
      transactionUID,
      node: node.name,
      project,
      studyInstanceUID,
      sopInstanceUIDs: portion.map(({ sopInstanceUID }) => sopInstanceUID),
      askedAt: gateway.now(),
    });
    try {
      await askForCommitment(node, transactionUID, outward, {
        callingAE: gateway.config.dimse.aeTitle,
        tls: gateway.config.dimse.tls,
        onReport: (report) => Promise.resolve(takeReport(gateway, node.dimse?.aeTitle ?? '', report)),
        isReported: () => transactionOf(database, transactionUID)?.reportedAt !== undefined,
      });
    } catch (error) {
      // The node may have understood and report nevertheless; but that is not waited for.
      abandonTransaction(database, transactionUID);
      throw error;
    }
  }
  return missing.some((one) => since.get(one) !== undefined);
}

/** Of an attempt that ended between push and proof. */
async function proveEarlierPushes(delivery: Delivery, instances: readonly InstanceRow[]): Promise<void> {
  if (instances.length === 0 || delivery.node.proof !== 'read-back') return;
  const travelled: Travelling[] = [];
  for (const instance of instances) travelled.push(await reidentified(delivery, instance));
  await prove(delivery, travelled);
}

function refuseUnlessAll(refused: readonly Delivered[], missing: number, pushed: number): void {
  const [first] = refused;
  if (first !== undefined) {
    throw new Refusal(
      'DeliveryFailed',
      `the node refused ${refused.length} of ${pushed} objects, the first with status ${hex(first.status)}`,
    );
  }
  if (missing > 0) {
    throw new Refusal('DeliveryFailed', `${missing} of ${pushed} objects are not found in the node after the push`);
  }
}

function hex(status: number): string {
  return `0x${status.toString(16).toUpperCase().padStart(4, '0')}`;
}

async function pushAll(
  delivery: Delivery,
  instances: readonly InstanceRow[],
): Promise<{ taken: Travelling[]; refused: Delivered[] }> {
  const { gateway, node, signal } = delivery;
  const underWay = new Map<string, Travelling>();
  const taken: Travelling[] = [];
  const refused: Delivered[] = [];
  async function* outgoing(): AsyncGenerator<Outgoing> {
    for (const instance of instances) {
      if (signal?.aborted === true) throw new Refusal('DeliveryFailed', 'the gateway is closing');
      const travelling = await reidentified(delivery, instance);
      const { sopInstanceUID } = travelling.outgoing;
      rememberOutgoing(gateway, [sopInstanceUID]);
      underWay.set(sopInstanceUID, travelling);
      yield travelling.outgoing;
    }
  }
  await push(node, outgoing(), {
    callingAE: gateway.config.dimse.aeTitle,
    tls: gateway.config.dimse.tls,
    onPortion(delivered) {
      const rows: LedgerRow[] = [];
      for (const one of delivered) {
        const travelling = underWay.get(one.sopInstanceUID);
        if (travelling === undefined) continue;
        underWay.delete(one.sopInstanceUID);
        if (one.taken) taken.push(withoutHead(travelling));
        else refused.push(one);
        rows.push(ledgerRow(delivery, travelling, one.taken ? takenState(node) : 'refused', one.status));
      }
      writeLedger(gateway.database, rows);
    },
  });
  return { taken, refused };
}

/** Where the node's word is proof enough, an object that it has taken is done with. */
function takenState({ proof }: Node): LedgerState {
  return proof === 'status' ? 'proven' : 'pushed';
}

/** What has gone keeps its names for the proof, not its bytes. */
function withoutHead(travelling: Travelling): Travelling {
  return { ...travelling, outgoing: { ...travelling.outgoing, head: Buffer.alloc(0) } };
}

async function reidentified({ gateway, project, producedAt }: Delivery, instance: InstanceRow): Promise<Travelling> {
  const { head } = reidentify(gateway.wall, {
    head: await readInstanceHead(gateway.archive, instance),
    project,
    producedAt,
  });
  const { dataSet, transferSyntaxUID } = readHead(head).head;
  return {
    instance,
    outwardSeriesUID: asciiValue(dataSet, 0x0020000e) ?? '',
    patientID: textValue(dataSet, 0x00100020) ?? '',
    outgoing: {
      sopClassUID: asciiValue(dataSet, 0x00080016) ?? '',
      sopInstanceUID: asciiValue(dataSet, 0x00080018) ?? '',
      studyInstanceUID: asciiValue(dataSet, 0x0020000d) ?? '',
      transferSyntaxUID,
      head,
      dataSetStart: dataSet.start,
      body: readInstanceBody(gateway.archive, instance),
    },
  };
}

/**
 * A node's word is not proof where the configuration asks for a look: the objects must be found, under this patient alone. Writes down what
 * is proven; answers how many were not found.
 */
async function prove(delivery: Delivery, travelled: readonly Travelling[]): Promise<number> {
  const { gateway, node } = delivery;
  if (node.proof !== 'read-back') return 0;
  let missing = 0;
  for (const [seriesUID, objects] of Map.groupBy(travelled, ({ outwardSeriesUID }) => outwardSeriesUID)) {
    const [first] = objects;
    if (first === undefined) continue;
    const { studyInstanceUID } = first.outgoing;
    const wanted = new Set(objects.map(({ outgoing }) => outgoing.sopInstanceUID));
    const found = await searchSeries(node, { studyInstanceUID, seriesInstanceUID: seriesUID, wanted });
    const proven = objects.filter(({ outgoing }) => found.has(outgoing.sopInstanceUID));
    missing += objects.length - proven.length;
    if (proven.length === 0) continue;
    const patients = await searchPatientIDs(node, studyInstanceUID);
    if (patients.size !== 1 || !patients.has(first.patientID)) {
      throw new Refusal(
        'DeliveryFailed',
        `the node holds the study under ${patients.size} patient IDs; exactly the original one is expected`,
      );
    }
    writeLedger(
      gateway.database,
      proven.map((travelling) => ledgerRow(delivery, travelling, 'proven', 0)),
    );
  }
  return missing;
}

function ledgerRow(
  { gateway, node }: Delivery,
  { instance }: Travelling,
  state: LedgerState,
  status: number,
): LedgerRow {
  return {
    node: node.name,
    studyInstanceUID: instance.studyInstanceUID,
    seriesInstanceUID: instance.seriesInstanceUID,
    sopInstanceUID: instance.sopInstanceUID,
    state,
    proof: state === 'proven' ? node.proof : undefined,
    status,
    at: gateway.now(),
  };
}
