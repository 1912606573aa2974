/**
 * Who may do what. A caller shows a bearer token (RFC 6750) or has it for a password (RFC 7617); the configuration holds its SHA-256 and its roles. Without any token
 * configured, callers of this machine hold every role and nobody else holds any: the default for trying things out.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { Refusal } from './dicom/refusal.ts';

export const ROLES = ['viewer', 'sender', 'radiology-it', 'privacy-officer'] as const;
export type Role = (typeof ROLES)[number];

export interface AccessToken {
  /** Names the holder in the audit trail. */
  readonly name: string;
  /** Whose it is, where somebody holds several. */
  readonly person?: string;
  /** Of the token, 64 hex digits; the token itself is nowhere. */
  readonly sha256: string;
  readonly roles: readonly Role[];
}

export interface Caller {
  readonly name: string;
  readonly roles: ReadonlySet<Role>;
}

/** What a request tells about its caller. */
export interface Credentials {
  readonly authorization: string | undefined;
  readonly remoteAddress: string | undefined;
  /** The Host header. */
  readonly host: string | undefined;
  /** What a proxy on this machine says it speaks for: X-Forwarded-For or Forwarded. */
  readonly forwardedFor?: string | undefined;
}

/** Of an HTTP request. */
export function credentialsOf({ headers, socket }: IncomingMessage): Credentials {
  return {
    authorization: headers.authorization,
    remoteAddress: socket.remoteAddress,
    host: headers.host,
    forwardedFor: [headers['x-forwarded-for'], headers['forwarded']].flat().filter(Boolean).join(','),
  };
}

const LOCAL: Caller = { name: 'local', roles: new Set(ROLES) };
const BEARER = /^Bearer +([A-Za-z0-9\-._~+/]+=*) *$/i;
const BASIC = /^Basic +([A-Za-z0-9+/]+=*) *$/i;

/** The caller, or undefined when the request does not tell who it is. */
export function authenticate(tokens: readonly AccessToken[], credentials: Credentials): Caller | undefined {
  if (tokens.length === 0) {
    // A page that resolves its own name to this machine (DNS rebinding) is told apart by the name it calls us.
    const { remoteAddress, host, forwardedFor = '' } = credentials;
    return isLoopback(remoteAddress) && isLocalHost(host) && !speaksForOthers(forwardedFor) ? LOCAL : undefined;
  }
  const secret = secretOf(credentials.authorization ?? '');
  if (secret === undefined) return undefined;
  const digest = createHash('sha256').update(secret).digest();
  let found: AccessToken | undefined;
  // Every entry is compared, so that the time taken does not tell which one was close.
  for (const token of tokens) {
    const expected = Buffer.from(token.sha256, 'hex');
    if (expected.length === digest.length && timingSafeEqual(expected, digest)) found = token;
  }
  return found === undefined ? undefined : { name: found.name, roles: new Set(found.roles) };
}

/** The token: as such, or as the password of a client that knows no other way (RFC 7617), under whatever name. */
function secretOf(authorization: string): string | undefined {
  const [, bearer] = BEARER.exec(authorization) ?? [];
  if (bearer !== undefined) return bearer;
  const [, basic] = BASIC.exec(authorization) ?? [];
  if (basic === undefined) return undefined;
  const pair = Buffer.from(basic, 'base64').toString('utf8');
  const at = pair.indexOf(':');
  return at < 0 || at === pair.length - 1 ? undefined : pair.slice(at + 1);
}

/** Whether two names of the audit trail are one person's. */
export function isOnePerson(tokens: readonly AccessToken[], one: string, other: string): boolean {
  const personOf = (name: string): string => tokens.find((token) => token.name === name)?.person ?? name;
  return personOf(one) === personOf(other);
}

/** @throws Refusal NotAuthorized when the caller holds none of the roles */
export function requireRole(caller: Caller, ...anyOf: readonly Role[]): void {
  if (!anyOf.some((role) => caller.roles.has(role)))
    throw new Refusal('NotAuthorized', `this takes the role ${anyOf.join(' or ')}`);
}

/** 127.0.0.0/8 and ::1, also as the IPv4-mapped address a dual-stack socket shows. */
export function isLoopback(address: string | undefined): boolean {
  if (address === undefined) return false;
  const plain = address.replace(/^::ffff:/i, '');
  return plain === '::1' || (isIP(plain) === 4 && plain.startsWith('127.'));
}

/** Whether any address that a proxy names, in either of the two forms, is not of this machine. */
function speaksForOthers(forwardedFor: string): boolean {
  const addresses = forwardedFor
    .split(/[,;]/)
    .map((part) => part.trim())
    .filter((part) => part !== '' && !/^(?:host|proto|by)=/i.test(part))
    .map((part) =>
      part
        .replace(/^for=/i, '')
        .replace(/^"|"$/g, '')
        .replace(/^\[|\](?::\d+)?$/g, ''),
    );
  return addresses.some((address) => !isLoopback(address.replace(/^([\d.]+):\d+$/, '$1')));
}

/** `localhost` or an address; a request without Host (HTTP/1.0) cannot come from a browser's page. */
function isLocalHost(host: string | undefined): boolean {
  if (host === undefined) return true;
  const name = host
    .replace(/:\d*$/, '')
    .replace(/^\[|\]$/g, '')
    .toLowerCase();
  return name === 'localhost' || name.endsWith('.localhost') || isIP(name) !== 0;
}
