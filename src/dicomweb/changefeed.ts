/**
 * The change feed for followers, an extension to PS3.18: `/changefeed` and `/changefeed/latest`, in the form of Microsoft's dicom-server.
 * A follower keeps the last Sequence that it has read and asks from there.
 */
import { isWithheld } from '../archive/withheld.ts';
import {
  firstChange,
  latestChange,
  metadataOfChange,
  readChanges,
  type Change,
  type ChangePage,
} from '../archive/changes.ts';
import { withBase } from '../archive/metadata.ts';
import { Refusal } from '../dicom/refusal.ts';
import { negotiate, sendBytes, warn, type Exchange } from './exchange.ts';
import type { Offer } from './media-type.ts';

const PLAIN_JSON: Offer = { multipart: false, type: 'application/json' };
const DEFAULT_LIMIT = 100;
export const MOST_CHANGES = 200;

export async function readChangeFeed(exchange: Exchange): Promise<void> {
  const { gateway, response } = exchange;
  const { offer } = negotiate(exchange, [PLAIN_JSON]);
  const { page, metadata } = requestOf(exchange, true);
  const changes = readChanges(gateway.archive, page);
  const first = firstChange(gateway.archive);
  if (page.window === undefined && page.offset < first - 1)
    warn(exchange, `Changes before Sequence ${first} are no longer kept`);
  response.setHeader('Cache-Control', 'no-cache');
  const text = `[${changes.map((change) => formatChange(exchange, change, metadata)).join(',')}]`;
  await sendBytes(exchange, 200, offer.type, Buffer.from(text));
}

export async function readLatestChange(exchange: Exchange): Promise<void> {
  const { gateway, response } = exchange;
  const { offer } = negotiate(exchange, [PLAIN_JSON]);
  const { metadata } = requestOf(exchange, false);
  const change = latestChange(gateway.archive);
  response.setHeader('Cache-Control', 'no-cache');
  if (change === undefined) {
    response.statusCode = 204;
    response.end();
    return;
  }
  await sendBytes(exchange, 200, offer.type, Buffer.from(formatChange(exchange, change, metadata)));
}

function formatChange({ gateway, baseUrl }: Exchange, change: Change, metadata: boolean): string {
  const entry = JSON.stringify({
    Sequence: change.sequence,
    StudyInstanceUid: change.studyInstanceUID,
    SeriesInstanceUid: change.seriesInstanceUID,
    SopInstanceUid: change.sopInstanceUID,
    Action: change.action,
    Timestamp: new Date(change.at).toISOString(),
    State: change.state,
  });
  const shown = metadata && !isWithheld(gateway.archive, change.studyInstanceUID);
  const text = shown ? metadataOfChange(gateway.archive, change) : undefined;
  return text === undefined ? entry : `${entry.slice(0, -1)},"Metadata":${withBase(text, baseUrl)}}`;
}

/** Names of parameters are read without case, as followers write them either way. @throws Refusal BadRequest */
function requestOf({ query }: Exchange, paged: boolean): { page: ChangePage; metadata: boolean } {
  const given = new Map<string, string>();
  for (const [name, value] of query) {
    const key = name.toLowerCase();
    if (key === 'accept' || key === 'charset') continue;
    const known = key === 'includemetadata' || (paged && ['offset', 'limit', 'starttime', 'endtime'].includes(key));
    if (!known) throw new Refusal('BadRequest', 'the change feed has no such query parameter');
    if (given.has(key)) throw new Refusal('BadRequest', `${key} is given more than once`);
    given.set(key, value);
  }
  const [from, to] = [momentOf(given, 'starttime'), momentOf(given, 'endtime')];
  if (from !== undefined && to !== undefined && from >= to)
    throw new Refusal('BadRequest', 'startTime has to be before endTime');
  return {
    page: {
      limit: wholeNumber(given, 'limit', { least: 1, most: MOST_CHANGES }) ?? DEFAULT_LIMIT,
      offset: wholeNumber(given, 'offset', { least: 0, most: Number.MAX_SAFE_INTEGER }) ?? 0,
      window:
        from === undefined && to === undefined ? undefined : { from: from ?? 0, to: to ?? Number.MAX_SAFE_INTEGER },
    },
    metadata: booleanOf(given, 'includemetadata') ?? true,
  };
}

function wholeNumber(
  given: ReadonlyMap<string, string>,
  name: string,
  { least, most }: { least: number; most: number },
): number | undefined {
  const text = given.get(name);
  if (text === undefined) return undefined;
  const number = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
  if (!(number >= least && number <= most))
    throw new Refusal('BadRequest', `${name} has to be a whole number from ${least} to ${most}`);
  return number;
}

function booleanOf(given: ReadonlyMap<string, string>, name: string): boolean | undefined {
  const text = given.get(name)?.toLowerCase();
  if (text !== undefined && text !== 'true' && text !== 'false')
    throw new Refusal('BadRequest', `${name} has to be true or false`);
  return text === undefined ? undefined : text === 'true';
}

/** RFC 3339 with an offset; `+` in a query is a blank. */
const MOMENT = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$/i;

function momentOf(given: ReadonlyMap<string, string>, name: string): number | undefined {
  const text = given.get(name)?.replace(' ', '+');
  if (text === undefined) return undefined;
  const [, whole = '', fraction = '', zone = ''] = MOMENT.exec(text) ?? [];
  const ms = Date.parse(`${whole}${fraction.slice(0, 4)}${zone}`);
  if (Number.isNaN(ms))
    throw new Refusal('BadRequest', `${name} has to be a moment like 2026-01-31T12:00:00Z (RFC 3339)`);
  return ms;
}
