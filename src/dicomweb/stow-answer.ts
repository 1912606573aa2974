/** The Store Instances Response Module (PS3.18 annex I), in the names the sender gave, and the status that goes with it. */
import { formatTag, tagKey } from '../dicom/data-set.ts';
import { keywordOf } from '../dicom/dictionary.ts';
import type { DicomJson, DicomJsonElement } from '../dicom/json.ts';
import { isShortage, Refusal, type RefusalReason } from '../dicom/refusal.ts';
import type { Received } from '../workflow/receive.ts';
import { DICOM_JSON, endAfterUpload, type Exchange } from './exchange.ts';
import type { Offer } from './media-type.ts';
import { formatNativeModel } from './native-model.ts';

/** One data set: in XML a single part, unlike the results of a search. */
export const STORE_ANSWERS: readonly Offer[] = [DICOM_JSON, { multipart: false, type: 'application/dicom+xml' }];

export interface StoreResults {
  /** In the order of the parts. */
  readonly received: readonly Received[];
  /** What ended the request before its end. */
  readonly failure: Refusal | undefined;
}

/** Seconds after which a sender may come again when there was no room. */
export const RETRY_AFTER_SECONDS = '60';
/** Statuses of what may pass. */
export const RETRIED: ReadonlySet<number> = new Set([503, 507]);

/** What never became an instance. */
export function refused(reason: RefusalReason, sentence: string): Received {
  return { ...NAMELESS, refusal: new Refusal(reason, sentence) };
}

const NAMELESS = { sopClassUID: undefined, sopInstanceUID: undefined, studyInstanceUID: undefined };

export function answerStore(exchange: Exchange, offer: Offer, results: StoreResults): void {
  const { request, response, caller, baseUrl } = exchange;
  // The URLs name pseudonyms, which one who only sends need not know.
  const root = caller.roles.has('viewer') ? `${baseUrl}/studies` : undefined;
  const module = responseModule(results, root);
  const body = Buffer.from(offer.type === DICOM_JSON.type ? JSON.stringify(module) : formatNativeModel(module));
  response.statusCode = statusOf(results);
  if (RETRIED.has(response.statusCode)) response.setHeader('Retry-After', RETRY_AFTER_SECONDS);
  const study = studyPath(storedOf(results));
  // PS3.18 table 10.5.3-2.
  if (root !== undefined && study !== undefined) {
    response.setHeader('Location', `${root}/${study}`);
    response.setHeader('Content-Location', `${root}/${study}`);
  }
  response.setHeader('Content-Type', offer.type);
  response.setHeader('Content-Length', body.length);
  response.setHeader('Cache-Control', 'no-store');
  endAfterUpload(request, response, body);
}

function storedOf({ received }: StoreResults): Received[] {
  return received.filter(({ refusal }) => refusal === undefined);
}

/** Sequences are absent when empty (type 1C). */
function responseModule(results: StoreResults, root: string | undefined): DicomJson {
  const stored = storedOf(results);
  const failed = results.received.filter(({ refusal }) => refusal !== undefined);
  const nameless = failed.filter((result) => !isNamed(result)).map(failureReason);
  if (results.failure !== undefined && failed.length === 0) nameless.push(results.failure.answer.failureReason);
  return {
    // Type 2: there, and empty where nothing can be retrieved.
    '00081190': url(root, studyPath(stored)),
    ...sequence(
      '00081198',
      failed.filter(isNamed).map((result) => ({
        ...reference(result),
        '00081197': us(failureReason(result)),
        ...failedAttributes(result),
      })),
    ),
    ...sequence(
      '00081199',
      stored.map((result) => ({
        ...reference(result),
        '00081190': url(root, instancePath(result)),
        ...warning(result),
        ...failedAttributes(result),
      })),
    ),
    ...sequence(
      '0008119A',
      nameless.map((reason) => ({ '00081197': us(reason) })),
    ),
  };
}

/** Its sender has to know it again, also where it is malformed (hashes are common); what has blanks or carets might be a name. */
const GIVEN_BACK = /^[0-9A-Za-z._-]{1,128}$/;

function isNamed({ sopInstanceUID }: Received): boolean {
  return sopInstanceUID !== undefined && GIVEN_BACK.test(sopInstanceUID);
}

/** PS3.18 table 10.5.3-1. */
function statusOf({ received, failure }: StoreResults): number {
  if (failure !== undefined) return failure.answer.httpStatus;
  const stored = received.filter(({ refusal }) => refusal === undefined);
  const failed = received.length > stored.length;
  if (stored.length > 0) return failed || stored.some((result) => warningReason(result) !== undefined) ? 202 : 200;
  const [first] = received;
  if (first?.refusal !== undefined && received.every(({ refusal }) => isShortage(refusal)))
    return first.refusal.answer.httpStatus;
  // Bad syntax: there is nothing in it that could conflict with anything.
  return received.every(
    ({ refusal, sopInstanceUID }) => refusal?.reason === 'CannotUnderstand' && sopInstanceUID === undefined,
  )
    ? 400
    : 409;
}

/** Warning Reason (0008,1196), PS3.18 table I.2-1: kept, though not as it came; a person decides what becomes of it. */
const HELD = 0xb000;
/** Values that their VR does not allow: "Data Set does not match SOP Class", and stored all the same. */
const FAULTY = 0xb007;

function warningReason({ quarantined, faults = [] }: Received): number | undefined {
  return quarantined === true ? HELD : faults.length > 0 ? FAULTY : undefined;
}

function warning(result: Received): DicomJson {
  const reason = warningReason(result);
  return reason === undefined ? {} : { '00081196': us(reason) };
}

/** Failed Attributes Sequence (0074,1048): which attributes, and what is wrong with them in words that hold nothing of their values. */
function failedAttributes({ faults = [] }: Received): DicomJson {
  return sequence(
    '00741048',
    faults.map(({ tag, what }) => ({
      '00000902': { vr: 'LO', Value: [`${formatTag(tag)} ${keywordOf(tag)} ${what}`.slice(0, 64)] },
      '00720026': { vr: 'AT', Value: [tagKey(tag)] },
    })),
  );
}

function sequence(key: string, items: readonly DicomJson[]): DicomJson {
  return items.length === 0 ? {} : { [key]: { vr: 'SQ', Value: [...items] } };
}

/** SOP Instance Reference Macro (PS3.3 table 10-11). */
function reference({ sopClassUID, sopInstanceUID }: Received): DicomJson {
  return { '00081150': uid(sopClassUID), '00081155': uid(sopInstanceUID) };
}

function us(value: number): DicomJsonElement {
  return { vr: 'US', Value: [value] };
}

function uid(value: string | undefined): DicomJsonElement {
  return value === undefined || !GIVEN_BACK.test(value) ? { vr: 'UI' } : { vr: 'UI', Value: [value] };
}

function url(root: string | undefined, path: string | undefined): DicomJsonElement {
  return root === undefined || path === undefined ? { vr: 'UR' } : { vr: 'UR', Value: [`${root}/${path}`] };
}

/** Undefined when the objects came to lie in several studies. */
function studyPath(results: readonly Received[]): string | undefined {
  const studies = new Set(results.flatMap(({ stored }) => stored?.studyInstanceUID ?? []));
  return studies.size === 1 ? [...studies][0] : undefined;
}

function instancePath({ stored }: Received): string | undefined {
  if (stored === undefined) return undefined;
  return `${stored.studyInstanceUID}/series/${stored.seriesInstanceUID}/instances/${stored.sopInstanceUID}`;
}

function failureReason({ refusal }: Received): number {
  return (refusal ?? new Refusal('BadRequest', 'no result')).answer.failureReason;
}
