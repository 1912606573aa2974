/**
 * Derived series go home: re-identified in memory, pushed to a node, searched there as proof, written into the ledger.
 * Every attempt continues where the last one stopped: what the ledger calls proven is not sent again.
 */
import { instancesOf, readInstanceBody, readInstanceHead, type InstanceRow } from '../archive/instances.ts';
import { recordAudit } from '../audit.ts';
import type { Node } from '../config.ts';
import { reidentify } from '../deidentify/reidentify.ts';
import { readLedger, writeLedger, type LedgerRow, type LedgerState } from '../delivery/ledger.ts';
import type { Delivered, Outgoing } from '../delivery/outgoing.ts';
import { push } from '../delivery/push.ts';
import { searchPatientIDs, searchSeries } from '../delivery/read-back.ts';
import { asciiValue, textValue } from '../dicom/data-set.ts';
import { readHead } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { scheduleWork, type WorkItem } from '../workitems.ts';

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
  });
}

export interface DeliverResult {
  readonly node: string;
  readonly objects: number;
  readonly proof: 'read-back' | 'status';
}

/** An object on its way, under both its names. */
interface Travelling {
  readonly instance: InstanceRow;
  readonly outgoing: Outgoing;
  readonly outwardSeriesUID: string;
  readonly patientID: string;
}

/** @throws Refusal DeliveryFailed (worth another attempt), Unresolved and others (not) */
export async function deliver(gateway: Gateway, item: WorkItem): Promise<DeliverResult> {
  const { project, node: nodeName, seriesInstanceUIDs } = item.parameters as unknown as DeliverParameters;
  const node = gateway.config.nodes.get(nodeName);
  if (node === undefined) throw new Refusal('BadConfiguration', `node ${nodeName} is no longer in nodes.yaml`);
  const { studyInstanceUID } = item;
  const instances = seriesInstanceUIDs.flatMap((seriesInstanceUID) =>
    instancesOf(gateway.archive, { studyInstanceUID, seriesInstanceUID }),
  );
  const known = new Map(
    readLedger(gateway.database, studyInstanceUID)
      .filter((row) => row.node === nodeName)
      .map((row) => [row.sopInstanceUID, row]),
  );
  const open = instances.filter(({ sopInstanceUID }) => known.get(sopInstanceUID)?.state !== 'proven');
  const producedAt = new Date(item.createdAt);
  const travelled = await pushAll(gateway, node, project, open, producedAt);
  await prove(gateway, node, travelled);
  recordAudit(gateway.audit, 'Export', 'isthmus', {
    study: studyInstanceUID,
    node: nodeName,
    objects: instances.length,
  });
  return { node: nodeName, objects: instances.length, proof: node.proof };
}

async function pushAll(
  gateway: Gateway,
  node: Node,
  project: string,
  instances: readonly InstanceRow[],
  producedAt: Date,
): Promise<Travelling[]> {
  const travelled = new Map<string, Travelling>();
  async function* outgoing(): AsyncGenerator<Outgoing> {
    for (const instance of instances) {
      const travelling = await reidentified(gateway, project, instance, producedAt);
      travelled.set(travelling.outgoing.sopInstanceUID, travelling);
      yield travelling.outgoing;
    }
  }
  const refused: Delivered[] = [];
  await push(node, outgoing(), {
    callingAE: gateway.config.dimse.aeTitle,
    onPortion(delivered) {
      refused.push(...delivered.filter(({ taken }) => !taken));
      const rows = delivered.flatMap((one) => {
        const travelling = travelled.get(one.sopInstanceUID);
        return travelling === undefined
          ? []
          : [ledgerRow(gateway, node, travelling, one.taken ? 'pushed' : 'refused', one.status)];
      });
      writeLedger(gateway.database, rows);
    },
  });
  const [first] = refused;
  if (first !== undefined) {
    throw new Refusal(
      'DeliveryFailed',
      `the node refused ${refused.length} of ${instances.length} objects, the first with status ${hex(first.status)}`,
    );
  }
  return [...travelled.values()];
}

function hex(status: number): string {
  return `0x${status.toString(16).toUpperCase().padStart(4, '0')}`;
}

async function reidentified(
  gateway: Gateway,
  project: string,
  instance: InstanceRow,
  producedAt: Date,
): Promise<Travelling> {
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

/** A node's word is not proof where the configuration asks for a look: the objects must be found, under this patient alone. */
async function prove(gateway: Gateway, node: Node, travelled: readonly Travelling[]): Promise<void> {
  if (node.proof === 'read-back') {
    for (const [seriesUID, objects] of Map.groupBy(travelled, ({ outwardSeriesUID }) => outwardSeriesUID)) {
      const [first] = objects;
      if (first === undefined) continue;
      const { studyInstanceUID } = first.outgoing;
      const found = await searchSeries(node, studyInstanceUID, seriesUID);
      const missing = objects.filter(({ outgoing }) => !found.has(outgoing.sopInstanceUID)).length;
      if (missing > 0)
        throw new Refusal(
          'DeliveryFailed',
          `${missing} of ${objects.length} objects of a series are not found in the node after the push`,
        );
      const patients = await searchPatientIDs(node, studyInstanceUID);
      if (patients.size !== 1 || !patients.has(first.patientID)) {
        throw new Refusal(
          'DeliveryFailed',
          `the node holds the study under ${patients.size} patient IDs; exactly the original one is expected`,
        );
      }
    }
  }
  writeLedger(
    gateway.database,
    travelled.map((travelling) => ledgerRow(gateway, node, travelling, 'proven', 0)),
  );
}

function ledgerRow(
  gateway: Gateway,
  node: Node,
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
