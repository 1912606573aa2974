/** What the pages of the administration door share: how a route is added, what a request says, answers that are no JSON. */
import type { Request } from 'express';
import type { Caller, Role } from '../access.ts';

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
