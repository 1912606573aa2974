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

const MOST_ROWS = 1000;

/** @throws Refusal BadRequest */
export function limitOf(query: URLSearchParams): number {
  const limit = Number(query.get('limit') ?? 100);
  if (!Number.isInteger(limit) || limit < 1 || limit > MOST_ROWS)
    throw new Refusal('BadRequest', `limit must be a whole number from 1 to ${MOST_ROWS}`);
  return limit;
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
