/** The administration door of a gateway in a folder, on a loopback port, with a token for each role. */
import { createHash } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { adminRouter, consoleRouter } from '../../src/admin/router.ts';
import { buildApp, listen } from '../../src/server.ts';
import { openInFolder, type OpenOptions, type Opened } from '../workflow/opened.ts';

export const ROLES = ['viewer', 'sender', 'radiology-it', 'privacy-officer'] as const;

export const TOKENS = ROLES.map(
  (role) =>
    `{ name: the ${role}, sha256: ${createHash('sha256').update(`secret-${role}`).digest('hex')}, roles: [${role}] }`,
);

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Buffer;
  readonly text: string;
  json<T>(): T;
}

export interface AdminDoor extends Opened {
  readonly url: string;
  ask(method: string, path: string, role: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
}

export async function openAdminDoor(
  t: TestContext,
  { tokens = TOKENS, ...options }: OpenOptions & { readonly tokens?: readonly string[] } = {},
): Promise<AdminDoor> {
  const opened = await openInFolder(t, {
    ...options,
    gateway: `access: { tokens: [${tokens.join(', ')}] }\n${options.gateway ?? ''}`,
  });
  const { gateway } = opened;
  const app = buildApp(gateway, { api: adminRouter(gateway), console: consoleRouter() });
  const server = await listen(app, { ...gateway.config.http, port: 0 });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    ...opened,
    url,
    async ask(method, path, role, body, headers = {}) {
      const answer = await fetch(`${url}${path}`, {
        method,
        headers: { authorization: `Bearer secret-${role}`, ...headers },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const bytes = Buffer.from(await answer.arrayBuffer());
      const text = bytes.toString('utf8');
      return { status: answer.status, headers: answer.headers, bytes, text, json: <T>() => JSON.parse(text) as T };
    },
  };
}
