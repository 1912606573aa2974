/** What the pages of the administration door share: how a route is added, what a request says, answers that are no JSON. */
import type { Request } from 'express';
import type { Caller, Role } from '../access.ts';
import { Refusal } from '../dicom/refusal.ts';

/** What `answer` gives is sent as JSON, unless it is `Shown`. */
export type AddRoute = (
  method: 'get' | 'post' | 'delete',
  path: string,
  roles: readonly Role[],
  answer: (request: Request, caller: Caller) => unknown,
) => void;

/** A text or a picture. */
export class Shown {
  readonly contentType: string;
  readonly content: string | Buffer;

  constructor(contentType: string, content: string | Buffer) {
    this.contentType = contentType;
    this.content = content;
  }
}

/** The value of the path that matches `:name`. */
export function parameter(request: Request, name: string): string {
  const value = request.params[name];
  return typeof value === 'string' ? value : '';
}

export function queryOf(request: Request): URLSearchParams {
  return new URLSearchParams(request.originalUrl.split('?')[1] ?? '');
}

/** A stretch of a list: sent as a JSON array, with how long the whole list is in the header X-Total-Count. */
export class Page {
  readonly rows: readonly unknown[];
  readonly total: number;

  constructor(rows: readonly unknown[], total: number) {
    this.rows = rows;
    this.total = total;
  }
}

export interface Stretch {
  readonly limit: number;
  readonly offset: number;
}

const MOST_ROWS = 1000;

/** Which stretch of a list is asked for. @throws Refusal BadRequest */
export function stretchOf(query: URLSearchParams): Stretch {
  return {
    limit: wholeNumber(query, 'limit', { least: 1, most: MOST_ROWS, usual: 100 }),
    offset: wholeNumber(query, 'offset', { least: 0, most: Number.MAX_SAFE_INTEGER, usual: 0 }),
  };
}

function wholeNumber(
  query: URLSearchParams,
  name: string,
  { least, most, usual }: { readonly least: number; readonly most: number; readonly usual: number },
): number {
  const text = query.get(name) ?? String(usual);
  const number = Number(text);
  if (!/^\d+$/.test(text) || number < least || number > most)
    throw new Refusal('BadRequest', `${name} must be a whole number from ${least} to ${most}`);
  return number;
}

export type Fields = Readonly<Record<string, unknown>>;

/** @throws Refusal BadRequest */
export function fieldsOf(value: unknown, name: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Refusal('BadRequest', `${name} must be an object`);
  return value as Fields;
}

/** @throws Refusal BadRequest */
export function text(value: unknown, name: string, least = 1): string {
  if (typeof value !== 'string' || value.trim().length < least || value.length > 1000)
    throw new Refusal('BadRequest', `${name} must be a text of ${least} to 1000 characters`);
  return value;
}
