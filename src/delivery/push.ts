/** Pushes objects to a node by the way its configuration names, in bounded portions. */
import type { Node } from '../config/nodes.ts';
import type { TlsFiles } from '../config/tls-files.ts';
import { Refusal } from '../dicom/refusal.ts';
import { Status, isStored } from '../dimse/command.ts';
import { abort, acceptedContexts, openAssociation, release, store, type Association } from '../dimse/scu.ts';
import { peerOf } from './destination.ts';
import type { Delivered, Outgoing } from './outgoing.ts';
import { pushByStow } from './stow-client.ts';

/** Objects of one STOW request: enough to keep the connection busy, few enough that a lost answer repeats little. */
const STOW_PORTION = 50;
/** What a node that accepts no context for an object says of it. */
const NOT_SUPPORTED = Status.sopClassNotSupported;

export interface PushOptions {
  /** Our AE title, for C-STORE. */
  readonly callingAE: string;
  /** Our certificate, for nodes that ask for one. */
  readonly tls?: TlsFiles | undefined;
  /** Hears what the node said after each portion. */
  readonly onPortion: (delivered: readonly Delivered[]) => void;
}

/**
 * Pushes all objects of one study.
 * @throws Refusal DeliveryFailed when the node cannot be reached or refuses as a whole
 */
export async function push(node: Node, objects: AsyncIterable<Outgoing>, options: PushOptions): Promise<void> {
  if (node.deliverBy === 'dimse') return pushByStore(node, objects, options);
  let portion: Outgoing[] = [];
  for await (const object of objects) {
    portion.push(object);
    if (portion.length < STOW_PORTION) continue;
    options.onPortion(await pushByStow(node, portion));
    portion = [];
  }
  if (portion.length > 0) options.onPortion(await pushByStow(node, portion));
}

/** What the associations of one push share. */
interface Sending {
  readonly node: Node;
  readonly dimse: NonNullable<Node['dimse']>;
  readonly options: PushOptions;
  /** Where every association takes its next object from. */
  readonly queue: AsyncIterator<Outgoing>;
  /** Taken from the queue by an association that then could not be opened. */
  readonly leftOver: Outgoing[];
  /** Ends them all. */
  failure: Error | undefined;
}

/**
 * C-STORE over several associations side by side: a peer that leaves Nagle's algorithm on (dcmtk does) answers one object per delayed
 * acknowledgement, 40 ms, however fast it is. A node that takes fewer associations gets everything over those it takes.
 */
async function pushByStore(node: Node, objects: AsyncIterable<Outgoing>, options: PushOptions): Promise<void> {
  const { dimse } = node;
  if (dimse === undefined) throw new Refusal('BadConfiguration', `node ${node.name} has no dimse section`);
  const queue = objects[Symbol.asyncIterator]();
  const sending: Sending = { node, dimse, options, queue, leftOver: [], failure: undefined };
  await Promise.all(Array.from({ length: dimse.associations }, () => send(sending, { alone: false })));
  if (sending.leftOver.length > 0 && sending.failure === undefined) await send(sending, { alone: true });
  await queue.return?.();
  if (sending.failure !== undefined) throw sending.failure;
}

/**
 * Sends objects until none is left. An association carries one class and syntax and is opened anew when another one comes. One that cannot
 * be opened leaves its object to the others; `alone` there are none.
 */
async function send(sending: Sending, { alone }: { readonly alone: boolean }): Promise<void> {
  let association: Association | undefined;
  let negotiated = '';
  try {
    for (let object = await next(sending); object !== undefined; object = await next(sending)) {
      const wanted = `${object.sopClassUID} ${object.transferSyntaxUID}`;
      if (association === undefined || wanted !== negotiated) {
        if (association !== undefined) await release(association);
        association = undefined;
        try {
          association = await openFor(sending, object);
        } catch (error) {
          if (alone) throw error;
          sending.leftOver.push(object);
          return;
        }
        negotiated = wanted;
      }
      const status = acceptedContexts(association).length === 0 ? NOT_SUPPORTED : await storeOne(association, object);
      const { sopInstanceUID } = object;
      sending.options.onPortion([{ sopInstanceUID, taken: isStored(status), status }]);
    }
    if (association !== undefined) await release(association);
  } catch (error) {
    if (association !== undefined) abort(association);
    sending.failure ??= error instanceof Error ? error : new Error('unknown');
  }
}

async function next(sending: Sending): Promise<Outgoing | undefined> {
  if (sending.failure !== undefined) return undefined;
  const left = sending.leftOver.pop();
  if (left !== undefined) return left;
  const { done, value } = await sending.queue.next();
  return done === true ? undefined : value;
}

function openFor({ dimse, options }: Sending, object: Outgoing): Promise<Association> {
  return openAssociation({
    ...peerOf(dimse, options.tls),
    callingAE: options.callingAE,
    contexts: [{ sopClassUID: object.sopClassUID, transferSyntaxUIDs: [object.transferSyntaxUID] }],
  });
}

function storeOne(association: Association, object: Outgoing): Promise<number> {
  return store(association, {
    sopClassUID: object.sopClassUID,
    sopInstanceUID: object.sopInstanceUID,
    transferSyntaxUID: object.transferSyntaxUID,
    dataSet: dataSetOf(object),
  });
}

async function* dataSetOf(object: Outgoing): AsyncGenerator<Buffer> {
  yield object.head.subarray(object.dataSetStart);
  yield* object.body;
}
