/** For a container's health check: ends with 0 when the gateway of this configuration says it is ready, with 1 otherwise. */
import { readConfig } from './config.ts';

const { http } = readConfig();
const everywhere = http.host === '0.0.0.0' || http.host === '::';
const host = everywhere ? 'localhost' : http.host.includes(':') ? `[${http.host}]` : http.host;
const scheme = http.tls === undefined ? 'http' : 'https';
const answer = await fetch(`${scheme}://${host}:${http.port}/readyz`, { signal: AbortSignal.timeout(4000) }).catch(
  () => undefined,
);
process.exit(answer?.status === 200 ? 0 : 1);
