/**
 * The absolute URL under which the caller reaches the service: configured, or told by a trusted proxy (RFC 7239 Forwarded, or
 * X-Forwarded-Host and -Proto), or the Host header, completed by the listening port where a client leaves that out.
 */
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';
import { Refusal } from '../dicom/refusal.ts';

export interface BaseUrlOptions {
  /** Scheme, host and path of the service as seen from outside, e.g. `https://gw.example.org/dicom-web`. */
  readonly publicBaseUrl?: string | undefined;
  /** Addresses or subnets (`10.0.0.0/8`) whose forwarding headers are believed. */
  readonly trustedProxies?: readonly string[] | undefined;
}

/** A name, an IPv4 address or an IPv6 address in brackets, with or without a port. */
const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;

/** Without a trailing slash. @throws Refusal BadRequest when the host named is none */
export function baseUrlOf(request: IncomingMessage, path: string, options: BaseUrlOptions): string {
  if (options.publicBaseUrl !== undefined) return options.publicBaseUrl.replace(/\/+$/, '');
  const { socket } = request;
  const ownScheme = 'encrypted' in socket && socket.encrypted === true ? 'https' : 'http';
  const forwarded = isTrusted(socket.remoteAddress, options.trustedProxies ?? []) ? forwardedOf(request) : {};
  const scheme = forwarded.proto ?? ownScheme;
  if (forwarded.host !== undefined) return `${scheme}://${checkHost(forwarded.host)}${path}`;
  const host = checkHost(request.headers.host ?? `localhost:${socket.localPort}`);
  return `${scheme}://${withPort(host, scheme, socket.localPort)}${path}`;
}

function checkHost(host: string): string {
  if (!HOST.test(host)) throw new Refusal('BadRequest', 'the host named by the request is no host name');
  return host;
}

function withPort(host: string, scheme: string, port: number | undefined): string {
  if (/:\d+$/.test(host) || port === undefined || port === (scheme === 'https' ? 443 : 80)) return host;
  return `${host}:${port}`;
}

interface Forwarded {
  readonly host?: string;
  readonly proto?: 'http' | 'https';
}

/** The first hop of Forwarded, else of X-Forwarded-*: what the client itself called. */
function forwardedOf(request: IncomingMessage): Forwarded {
  const standard = firstOf(request.headers['forwarded']);
  if (standard !== undefined) {
    const pairs = new Map<string, string>();
    for (const pair of standard.split(';')) {
      const [name = '', value = ''] = pair.split('=', 2);
      pairs.set(name.trim().toLowerCase(), value.trim().replace(/^"(.*)"$/, '$1'));
    }
    return toForwarded(pairs.get('host'), pairs.get('proto'));
  }
  return toForwarded(firstOf(request.headers['x-forwarded-host']), firstOf(request.headers['x-forwarded-proto']));
}

function toForwarded(host: string | undefined, proto: string | undefined): Forwarded {
  const scheme = proto?.toLowerCase();
  return {
    ...(host === undefined || host === '' ? {} : { host }),
    ...(scheme === 'http' || scheme === 'https' ? { proto: scheme } : {}),
  };
}

function firstOf(header: string | string[] | undefined): string | undefined {
  const text = Array.isArray(header) ? header[0] : header;
  return text?.split(',')[0]?.trim() || undefined;
}

function isTrusted(address: string | undefined, proxies: readonly string[]): boolean {
  if (address === undefined || proxies.length === 0) return false;
  const plain = address.replace(/^::ffff:/i, '');
  const list = new BlockList();
  for (const proxy of proxies) {
    const [network = '', bits] = proxy.split('/');
    const family = isIP(network) === 6 ? 'ipv6' : 'ipv4';
    if (isIP(network) === 0) continue;
    if (bits === undefined) list.addAddress(network, family);
    else list.addSubnet(network, Number(bits), family);
  }
  return list.check(plain, isIP(plain) === 6 ? 'ipv6' : 'ipv4');
}
