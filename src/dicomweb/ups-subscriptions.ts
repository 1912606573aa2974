/** Subscriptions to work items and to the worklist (PS3.18 11.10 to 11.12). */
import { Refusal } from '../dicom/refusal.ts';
import type { Match } from '../matching/conditions.ts';
import { FILTERED_WORKLIST, WORKLIST } from '../workitems/events.ts';
import {
  checkSubscriber,
  followWorkitem,
  followWorklist,
  unfollowWorkitem,
  unfollowWorklist,
} from '../workflow/worklist.ts';
import { uidParameter, warn, type Exchange, type QueryPair } from './exchange.ts';
import { readSearchRequest } from './search-request.ts';
import { refuseParameters } from './ups-payload.ts';
import { matchesOf } from './search-answer.ts';

export async function subscribe(exchange: Exchange): Promise<void> {
  const { gateway, caller, response, baseUrl } = exchange;
  const target = uidParameter(exchange, 'workitem');
  const aet = subscriberOf(exchange);
  const { lock, filter } = parametersOf(exchange);
  if ((target === FILTERED_WORKLIST) !== (filter !== undefined))
    throw new Refusal('BadRequest', 'filter belongs to the Filtered Worklist, and to nothing else (PS3.18 11.10.1.2)');
  // Who may only look keeps nothing from being deleted.
  const granted = lock && (caller.roles.has('radiology-it') || caller.roles.has('sender'));
  const subscription = { aet, lock: granted, owner: caller.name };
  if (target === WORKLIST || target === FILTERED_WORKLIST) followWorklist(gateway, subscription, filter);
  else followWorkitem(gateway, target, subscription);
  if (lock && !granted) warn(exchange, 'Deletion Lock not granted.');
  response.setHeader('Content-Location', `${baseUrl.replace(/^http/, 'ws')}/ws/subscribers/${encodeURIComponent(aet)}`);
  response.statusCode = 201;
  response.end();
  return Promise.resolve();
}

export async function unsubscribe(exchange: Exchange): Promise<void> {
  const { gateway, response } = exchange;
  refuseParameters(exchange);
  const target = uidParameter(exchange, 'workitem');
  const aet = subscriberOf(exchange);
  if (target === WORKLIST || target === FILTERED_WORKLIST)
    unfollowWorklist(gateway, aet, { filtered: target === FILTERED_WORKLIST, keepSteps: false });
  else unfollowWorkitem(gateway, target, aet);
  response.statusCode = 200;
  response.end();
  return Promise.resolve();
}

/** New work items are not followed any more; those that are followed stay so. */
export async function suspendSubscription(exchange: Exchange): Promise<void> {
  const { gateway, response } = exchange;
  refuseParameters(exchange);
  const target = uidParameter(exchange, 'workitem');
  const aet = subscriberOf(exchange);
  if (target !== WORKLIST && target !== FILTERED_WORKLIST)
    throw new Refusal('BadRequest', 'only the subscription to a worklist can be suspended (PS3.18 11.12.1.1)');
  unfollowWorklist(gateway, aet, { filtered: target === FILTERED_WORKLIST, keepSteps: true });
  response.statusCode = 200;
  response.end();
  return Promise.resolve();
}

/** The AE title of the path, when it is not somebody else's. @throws Refusal BadRequest, NotAuthorized */
export function subscriberOf({ gateway, caller, request }: Exchange): string {
  const aet = request.params['aet'];
  if (typeof aet !== 'string' || !isAeTitle(aet))
    throw new Refusal('BadRequest', 'the subscriber in the path is no AE title');
  checkSubscriber(gateway, aet, caller.name, caller.roles.has('radiology-it'));
  return aet;
}

/** PS3.5 6.2: 1 to 16 printable characters but the backslash, not only blanks. */
export function isAeTitle(text: string): boolean {
  return /^[ -[\]-~]{1,16}$/.test(text) && text.trim() === text && text !== '';
}

function parametersOf({ query }: Exchange): { lock: boolean; filter: readonly Match[] | undefined } {
  let lock: boolean | undefined;
  const filters: string[] = [];
  for (const [name, value] of query) {
    if (name === 'deletionlock') {
      if (lock !== undefined || (value !== 'true' && value !== 'false'))
        throw new Refusal('BadRequest', 'deletionlock has to be true or false, once');
      lock = value === 'true';
    } else if (name === 'filter') {
      filters.push(value);
    } else if (name !== 'accept' && name !== 'charset') {
      throw new Refusal('BadRequest', 'a subscription has no such query parameter');
    }
  }
  return { lock: lock ?? false, filter: filters.length === 0 ? undefined : filterOf(filters.join(',')) };
}

/** `attribute=value` joined by commas; what has no `=` belongs to the value before it, a list of UIDs. */
function filterOf(text: string): Match[] {
  const pairs: QueryPair[] = [];
  for (const piece of text.split(',')) {
    const at = piece.indexOf('=');
    const last = pairs.at(-1);
    if (at > 0) pairs.push([piece.slice(0, at).trim(), piece.slice(at + 1)]);
    else if (last !== undefined) pairs[pairs.length - 1] = [last[0], `${last[1]},${piece}`];
    else throw new Refusal('BadRequest', 'filter has to be attribute=value, several joined by commas');
  }
  const { matches, include, limit, offset, options } = readSearchRequest(pairs);
  if (matches.length === 0 || include.length > 0 || limit !== undefined || offset > 0 || options.size > 0)
    throw new Refusal('BadRequest', 'filter holds match keys only');
  return matchesOf(matches);
}
