/** Capabilities walked: what the service says of itself is what it does (DICOMWEB trap 5); browsers' preflights told apart. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Resource } from '../../src/dicomweb/capabilities.ts';
import { ROUTES } from '../../src/dicomweb/router.ts';
import { storeInstance } from '../../src/archive/instances.ts';
import { identified, objectOf } from '../phantom/keywords.ts';
import { fill, openDoor, type Door } from './door.ts';
import { postWorkitem } from './workitem.ts';

const ORIGIN = 'https://viewer.example.org';
let door: Door;
before(async () => {
  door = await openDoor(`http: { allowedOrigins: ['${ORIGIN}'] }`);
  await fill(door, { studyInstanceUID: '2.25.1', seriesInstanceUID: '2.25.2', sopInstanceUID: '2.25.3' });
  const document = { EncapsulatedDocument: Buffer.from('%PDF'), MIMETypeOfEncapsulatedDocument: 'application/pdf' };
  const ids = identified('1.2.840.10008.5.1.4.1.1.104.1', 'DOC', [4, 1, 1]);
  await storeInstance(door.gateway.archive, objectOf({ ...ids, ...document }));
  assert.equal((await postWorkitem(door, '2.25.4')).status, 201);
});
after(() => door.close());

const VALUES: Readonly<Record<string, string>> = {
  '{study}': '2.25.1',
  '{series}': '2.25.2',
  '{instance}': '2.25.3',
  '{frames}': '1',
  '{path}': '7FE00010',
  '{workitem}': '2.25.4',
};
/** For forms that only a document has. */
const DOCUMENT: Readonly<Record<string, string>> = {
  '{study}': '2.25.4',
  '{series}': '2.25.4.1',
  '{instance}': '2.25.4.1.1',
};
const urlOf = (path: string, accept: string): string => {
  const values = /text\/|pdf/.test(accept) ? { ...VALUES, ...DOCUMENT } : VALUES;
  const url = door.url + path.replace(/\{\w+\}/g, (step) => values[step] ?? step);
  const { '{study}': study, '{series}': series, '{instance}': instance } = values;
  return path === '/wado' ? `${url}?requestType=WADO&studyUID=${study}&seriesUID=${series}&objectUID=${instance}` : url;
};
const options = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${door.url}${path}`, { method: 'OPTIONS', headers });
const treeOf = async (path: string): Promise<Resource[]> =>
  ((await (await options(path, { accept: 'application/json' })).json()) as { resources: Resource[] }).resources;

interface Flat {
  readonly path: string;
  readonly resource: Resource;
}
function flatten(resources: readonly Resource[], parent = ''): Flat[] {
  return resources.flatMap((resource) => {
    const path = `${parent}/${resource.path}`;
    return [{ path, resource }, ...flatten(resource.resources, path)];
  });
}

test('CAP-1: OPTIONS / names every row of the routing table, and each one answers in each form it names', async () => {
  const flat = flatten(await treeOf('/'));
  const named = flat.flatMap(({ path, resource }) => resource.methods.map(({ name }) => `${name} ${path}`));
  const routed = ROUTES.map(({ method, path }) => `${method} ${path.replace(/[:*](\w+)/g, '{$1}')}`);
  assert.deepEqual(named.toSorted(), routed.toSorted());
  const ids = flat.flatMap(({ resource }) => resource.methods.map(({ id }) => id));
  assert.equal(new Set(ids).size, ids.length);
  for (const { path, resource } of flat)
    for (const { name, representations } of resource.methods) {
      if (name !== 'GET') continue;
      for (const accept of representations) {
        const response = await fetch(urlOf(path, accept), { headers: { accept } });
        await response.arrayBuffer();
        assert.equal(response.status, 200, `${path} as ${accept}`);
        const wanted = accept.replace(/[";].*/, '');
        assert.ok(response.headers.get('content-type')?.startsWith(wanted), `${path} as ${accept}`);
      }
    }
});

test('CAP-2: every match key that a search resource names is taken', async () => {
  let keys = 0;
  for (const { path, resource } of flatten(await treeOf('/')))
    for (const { id, parameters } of resource.methods) {
      if (!/^(Search|FindWorkitems)/.test(id)) continue;
      const url = door.url + path.replace(/\{\w+\}/g, (step) => VALUES[step] ?? step);
      for (const { name, style } of parameters) {
        if (style !== 'query' || !/^[A-Z]/.test(name)) continue;
        keys++;
        const response = await fetch(`${url}?${name}=`);
        await response.arrayBuffer();
        assert.equal(response.status, 200, `${path}?${name}=`);
      }
    }
  assert.ok(keys > 100);
});

test('CAP-3: WADL is the default: one application, one resources with the base, the same methods', async () => {
  const response = await options('/');
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('content-type'), 'application/vnd.sun.wadl+xml');
  const text = await response.text();
  assert.equal(text.match(/<application /g)?.length, 1);
  assert.deepEqual(text.match(/<resources [^>]*>/g), [`<resources base="${door.url}">`]);
  assert.equal(text.match(/<method /g)?.length, ROUTES.length);
  assert.equal(text.match(/<resource /g)?.length, text.match(/<\/resource>/g)?.length);
  assert.match(text, /<representation mediaType="multipart\/related; type=&quot;application\/dicom&quot;"\/>/);
});

test('CAP-4: OPTIONS on a resource describes it and what lies below, and says Allow', async () => {
  const response = await options('/studies/2.25.1/series/2.25.2', { accept: 'application/json' });
  assert.match(response.headers.get('allow') ?? '', /^GET, HEAD.*OPTIONS$/);
  const { base, resources } = (await response.json()) as { base: string; resources: Resource[] };
  assert.equal(base, `${door.url}/studies/{study}/series`);
  assert.deepEqual(
    resources.map(({ path }) => path),
    ['{series}'],
  );
  assert.ok(flatten(resources).some(({ path }) => path === '/{series}/instances/{instance}/metadata'));
  assert.equal((await options('/', { accept: 'text/csv' })).status, 406);
  assert.equal((await options('/nothing')).status, 404);
});

test('CORS-1: a preflight is answered without Capabilities; an origin that is not allowed gets no leave', async () => {
  const ask = { 'access-control-request-method': 'GET', origin: ORIGIN };
  const response = await options('/studies', ask);
  assert.equal(response.status, 204);
  assert.equal(response.headers.get('access-control-allow-origin'), ORIGIN);
  assert.match(response.headers.get('access-control-allow-methods') ?? '', /GET.*POST/);
  assert.match(response.headers.get('access-control-allow-headers') ?? '', /Authorization/);
  const other = await options('/studies', { ...ask, origin: 'https://evil.example.org' });
  assert.equal(other.headers.get('access-control-allow-origin'), null);
  assert.equal(other.headers.get('access-control-allow-methods'), null);
});

test('CORS-2: a page of an allowed origin may read Warning, ETag and the like', async () => {
  const response = await fetch(`${door.url}/studies`, { headers: { origin: ORIGIN } });
  assert.equal(response.headers.get('access-control-allow-origin'), ORIGIN);
  for (const name of ['Warning', 'ETag', 'Content-Location', 'Content-Range', 'Retry-After'])
    assert.ok(response.headers.get('access-control-expose-headers')?.includes(name), name);
  assert.equal(response.headers.get('cross-origin-resource-policy'), 'cross-origin');
  assert.match(response.headers.get('vary') ?? '', /Origin/);
  const none = await fetch(`${door.url}/studies`, { headers: { origin: 'https://evil.example.org' } });
  assert.equal(none.headers.get('access-control-allow-origin'), null);
});
