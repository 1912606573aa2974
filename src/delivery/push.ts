/** Pushes objects to a node by the way its configuration names, in bounded portions. */
import type { Node } from '../config.ts';
import { Refusal } from '../dicom/refusal.ts';
import { openAssociation, release, abort, store, type Association } from '../dimse/scu.ts';
import type { Delivered, Outgoing } from './outgoing.ts';
import { pushByStow } from './stow-client.ts';

/** Objects of one STOW request: enough to keep the connection busy, few enough that a lost answer repeats little. */
const STOW_PORTION = 50;
const OUR_AE = 'ISTHMUS';

/**
 * Pushes all objects of one study. `onPortion` hears what the node said after each portion.
 * @throws Refusal DeliveryFailed when the node cannot be reached or refuses as a whole
 */
export async function push(
  node: Node,
  objects: AsyncIterable<Outgoing>,
  options: { readonly callingAE?: string; readonly onPortion: (delivered: readonly Delivered[]) => void },
): Promise<void> {
  if (node.deliverBy === 'dicomweb') {
    let portion: Outgoing[] = [];
    for await (const object of objects) {
      portion.push(object);
      if (portion.length < STOW_PORTION) continue;
      options.onPortion(await pushByStow(node, portion));
      portion = [];
    }
    if (portion.length > 0) options.onPortion(await pushByStow(node, portion));
    return;
  }
  await pushByStore(node, objects, options.callingAE ?? OUR_AE, options.onPortion);
}

/** C-STORE; an association carries the classes and syntaxes seen so far and is opened anew when another one comes. */
async function pushByStore(
  node: Node,
  objects: AsyncIterable<Outgoing>,
  callingAE: string,
  onPortion: (delivered: readonly Delivered[]) => void,
): Promise<void> {
  const { dimse } = node;
  if (dimse === undefined) throw new Refusal('BadConfiguration', `node ${node.name} has no dimse section`);
  let association: Association | undefined;
  let negotiated = '';
  try {
    for await (const object of objects) {
      const wanted = `${object.sopClassUID} ${object.transferSyntaxUID}`;
      if (association === undefined || wanted !== negotiated) {
        if (association !== undefined) await release(association);
        association = await openAssociation({
          host: dimse.host,
          port: dimse.port,
          callingAE,
          calledAE: dimse.aeTitle,
          contexts: [{ sopClassUID: object.sopClassUID, transferSyntaxUIDs: [object.transferSyntaxUID] }],
          ...(dimse.tls ? { tls: dimse.authorities === undefined ? {} : { ca: dimse.authorities } } : {}),
        });
        negotiated = wanted;
      }
      const status = await store(association, {
        sopClassUID: object.sopClassUID,
        sopInstanceUID: object.sopInstanceUID,
        transferSyntaxUID: object.transferSyntaxUID,
        dataSet: dataSetOf(object),
      });
      onPortion([{ sopInstanceUID: object.sopInstanceUID, taken: isTaken(status), status }]);
    }
    if (association !== undefined) await release(association);
  } catch (error) {
    if (association !== undefined) abort(association);
    throw error;
  }
}

/** Success or a warning (Bxxx): the object was stored (PS3.4 B.2.3). */
function isTaken(status: number): boolean {
  return status === 0 || status >>> 12 === 0xb;
}

async function* dataSetOf(object: Outgoing): AsyncGenerator<Buffer> {
  yield object.head.subarray(object.dataSetStart);
  yield* object.body;
}
