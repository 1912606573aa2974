/** A data set of the DICOM JSON model as a sender gives it: nothing in it is checked yet. What is settled here is settled by tag. */
import { formatTag } from '../dicom/data-set.ts';
import { keywordOf } from '../dicom/dictionary.ts';
import { Refusal } from '../dicom/refusal.ts';

/** Keys of eight hex digits in upper case. */
export type JsonObject = Record<string, unknown>;

export interface JsonElement {
  readonly vr?: unknown;
  readonly Value?: unknown;
  readonly BulkDataURI?: unknown;
  readonly InlineBinary?: unknown;
}

/** Undefined for what is absent or no element. */
export function elementIn(json: JsonObject, key: string): JsonElement | undefined {
  const element = json[key];
  return typeof element === 'object' && element !== null ? element : undefined;
}

/** The first value of an attribute of the top level. */
function firstValue(json: JsonObject, key: string): unknown {
  const value = elementIn(json, key)?.Value;
  return Array.isArray(value) ? (value as unknown[])[0] : undefined;
}

/** Undefined where there is no value or none that is a number. */
export function numberIn(json: JsonObject, key: string): number | undefined {
  const value = firstValue(json, key);
  if (typeof value !== 'number' && !(typeof value === 'string' && value.trim() !== '')) return undefined;
  const number = Number(value);
  return Number.isFinite(number) ? number : undefined;
}

/** Without padding; undefined where there is no value or no text. */
export function textIn(json: JsonObject, key: string): string | undefined {
  const value = firstValue(json, key);
  return typeof value === 'string' ? value.replace(/^[\0 ]+|[\0 ]+$/g, '') || undefined : undefined;
}

/**
 * What the bulk data says of an attribute: written where the metadata says nothing, otherwise the two have to agree (PS3.18 10.5.2).
 * @throws Refusal DataSetMismatch
 */
export function settle(
  json: JsonObject,
  key: string,
  vr: 'US' | 'IS' | 'CS' | 'LO' | 'UL',
  value: string | number,
  agrees: (found: string | number) => boolean = (found) => found === value,
): void {
  const found = typeof value === 'number' ? numberIn(json, key) : textIn(json, key);
  if (found !== undefined) {
    if (!agrees(found)) throw contradiction(key);
    return;
  }
  // Something stands there that is no such value: it is not for us to guess what was meant.
  const given = firstValue(json, key);
  if (given !== undefined && given !== null && given !== '') throw contradiction(key);
  json[key] = { vr, Value: [value] };
}

export function contradiction(key: string): Refusal {
  const tag = Number.parseInt(key, 16);
  return new Refusal('DataSetMismatch', `${keywordOf(tag)} ${formatTag(tag)} contradicts the bulk data or is missing`);
}
