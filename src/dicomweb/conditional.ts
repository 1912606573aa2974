/** Conditions and ranges of a request (RFC 9110 sections 13 and 14), and the entity tags that they compare. */
import { hash } from 'node:crypto';
import { lastChangeOf } from '../archive/changes.ts';
import { instanceOf, type InstanceRow } from '../archive/instances.ts';
import { versionOf } from '../archive/studies.ts';
import type { Archive } from '../archive/handle.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Exchange } from './exchange.ts';

/**
 * Sets the entity tag and the date of what is about to be sent; answers 304 and says so when the caller has it already. The URLs inside
 * depend on how the caller reached us.
 * @throws Refusal PreconditionFailed
 */
export function isUnchanged(exchange: Exchange, content: string): boolean {
  const { request, response, baseUrl } = exchange;
  const tag = `"${stampOf(exchange)}${fingerprint([content], baseUrl)}"`;
  response.setHeader('ETag', tag);
  response.setHeader('Cache-Control', 'private, no-cache');
  // PS3.18 table 8.4.2-1; the query, which could hold anything, is no part of a resource of this service.
  if (request.path.startsWith('/studies/')) response.setHeader('Content-Location', baseUrl + request.path);
  const changed = lastChangeSecond(exchange);
  refuseOther(exchange, changed, (entry) => entry === tag);
  // Not within the second of the change, since another one in it could not be told from it.
  const modified = changed === undefined || changed + 1000 > Date.now() ? undefined : new Date(changed);
  if (modified !== undefined) response.setHeader('Last-Modified', modified.toUTCString());
  if (!isKnown(exchange, tag, modified)) return false;
  response.statusCode = 304;
  response.end();
  return true;
}

/**
 * Conditions of a request that deletes what its path names. A tag of each representation that the caller may have seen of it, or of what
 * lies below the same path, stands for it. If-None-Match asks that there be none such (RFC 9110 13.1.2).
 * @throws Refusal PreconditionFailed
 */
export function refuseUnlessAsSeen(exchange: Exchange): void {
  const stamp = stampOf(exchange);
  const isSeen = (tag: string): boolean => stamp !== '' && tag.startsWith(`"${stamp}`);
  refuseOther(exchange, lastChangeSecond(exchange), isSeen);
  const others = entriesOf(exchange.request.headers['if-none-match']);
  if (others.some((entry) => entry === '*' || isSeen(entry.replace(/^W\//, ''))))
    throw new Refusal('PreconditionFailed', 'the resource is what If-None-Match names (RFC 9110 13.1.2)');
}

/** If-Match, and the date only where no tag is given (RFC 9110 13.2.2); a weak tag matches nothing (8.8.3.2). */
function refuseOther({ request }: Exchange, changed: number | undefined, isMeant: (tag: string) => boolean): void {
  const { headers } = request;
  const tags = headers['if-match'];
  if (tags !== undefined) {
    if (!entriesOf(tags).some((entry) => entry === '*' || isMeant(entry)))
      throw new Refusal('PreconditionFailed', 'the representation is another than If-Match names (RFC 9110 13.1.1)');
    return;
  }
  const since = Date.parse(headers['if-unmodified-since'] ?? '');
  if (changed !== undefined && changed > since)
    throw new Refusal('PreconditionFailed', 'the study has changed after If-Unmodified-Since (RFC 9110 13.1.4)');
}

/** A date counts only where no tag is given (RFC 9110 13.2.2). */
function isKnown({ request }: Exchange, tag: string, modified: Date | undefined): boolean {
  const tags = request.headers['if-none-match'];
  if (tags !== undefined) return entriesOf(tags).some((entry) => ['*', tag, `W/${tag}`].includes(entry));
  const since = Date.parse(request.headers['if-modified-since'] ?? '');
  return modified !== undefined && modified.getTime() <= since;
}

function entriesOf(header: string | undefined): string[] {
  return header?.split(',').map((entry) => entry.trim()) ?? [];
}

/** How the tag of whatever lies at or below a study, series or instance begins: with what that is now. */
function stampOf({ gateway, request }: Exchange): string {
  const { study, series, instance } = request.params;
  if (typeof study !== 'string') return '';
  const version = versionOfScope(gateway.archive, {
    studyInstanceUID: study,
    ...(typeof series === 'string' ? { seriesInstanceUID: series } : {}),
    ...(typeof instance === 'string' ? { sopInstanceUID: instance } : {}),
  });
  return version === undefined ? '' : `${fingerprint([version], '').slice(0, 16)}-`;
}

export interface Scope {
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID?: string;
  readonly sopInstanceUID?: string;
}

/** What changes with everything inside a study, series or instance; undefined when there is none. */
export function versionOfScope(archive: Archive, scope: Scope): string | undefined {
  const { studyInstanceUID, seriesInstanceUID, sopInstanceUID } = scope;
  if (sopInstanceUID !== undefined) {
    const instance = instanceOf(archive, sopInstanceUID, studyInstanceUID, seriesInstanceUID);
    return instance === undefined ? undefined : versionOfInstance(instance);
  }
  const version = versionOf(archive, studyInstanceUID, seriesInstanceUID);
  return version === undefined ? undefined : `${studyInstanceUID} ${seriesInstanceUID ?? ''} ${version}`;
}

/** When anything of the study was last stored, replaced or deleted: milliseconds since 1970, in whole seconds. */
function lastChangeSecond({ gateway, request }: Exchange): number | undefined {
  const { study } = request.params;
  const at = typeof study === 'string' ? lastChangeOf(gateway.archive, study) : undefined;
  return at === undefined ? undefined : Math.floor(at / 1000) * 1000;
}

/** Of every instance's content, so that a change anywhere below changes it. */
export function fingerprintOf(instances: readonly InstanceRow[], form: string): string {
  return fingerprint(instances.map(versionOfInstance), form);
}

export function fingerprint(versions: readonly string[], form: string): string {
  return hash('sha256', [form, ...versions].join('\n'), 'hex').slice(0, 32);
}

export function versionOfInstance({ sopInstanceUID, version, crc }: InstanceRow): string {
  return `${sopInstanceUID} ${version} ${crc}`;
}

export interface ByteRange {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

/**
 * The one range of bytes that is asked for (RFC 9110 14.1.2); undefined: send everything, as for several ranges, an unknown unit, or an
 * If-Range that means another representation than the one whose tag and date have been set (13.1.5).
 */
export function rangeOf({ request, response }: Exchange, lengthBytes: number): ByteRange | 'unsatisfiable' | undefined {
  // Of GET alone (RFC 9110 14.2).
  if (request.method !== 'GET') return undefined;
  const match = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range?.trim() ?? '');
  if (match === null) return undefined;
  const condition = request.headers['if-range'];
  if (condition !== undefined && ![response.getHeader('ETag'), response.getHeader('Last-Modified')].includes(condition))
    return undefined;
  const [, first = '', last = ''] = match;
  if (first === '') {
    if (last === '') return undefined;
    const suffix = Math.min(Number(last), lengthBytes);
    return suffix === 0 ? 'unsatisfiable' : { start: lengthBytes - suffix, end: lengthBytes };
  }
  if (last !== '' && Number(last) < Number(first)) return undefined;
  if (Number(first) >= lengthBytes) return 'unsatisfiable';
  return { start: Number(first), end: last === '' ? lengthBytes : Math.min(Number(last) + 1, lengthBytes) };
}
