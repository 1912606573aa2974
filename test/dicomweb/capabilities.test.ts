/** Capabilities walked: what the service says of itself is what it does (DICOMWEB trap 5); browsers' preflights told apart. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
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

/** The JSON of PS3.18 Annex G, as far as it is read here. */
interface Wadl {
  readonly '@base'?: string;
  readonly '@path'?: string;
  readonly '@name'?: string;
  readonly '@id'?: string;
  readonly '@style'?: string;
  readonly '@status'?: string;
  readonly '@mediaType'?: string;
  readonly '@title'?: string;
  readonly value?: string;
  readonly application?: Wadl;
  readonly resources?: Wadl;
  readonly request?: Wadl;
  readonly doc?: readonly Wadl[];
  readonly resource?: readonly Wadl[];
  readonly method?: readonly Wadl[];
  readonly param?: readonly Wadl[];
  readonly response?: readonly Wadl[];
  readonly representation?: readonly Wadl[];
}
const wadlOf = async (path: string): Promise<Wadl> => {
  const answer = (await (await options(path, { accept: 'application/json' })).json()) as Wadl;
  return answer.application ?? {};
};

interface Flat {
  readonly path: string;
  readonly resource: Wadl;
}
function flatten({ resource = [] }: Wadl, parent = ''): Flat[] {
  return resource.flatMap((child) => {
    const path = `${parent}/${child['@path']}`;
    return [{ path, resource: child }, ...flatten(child, path)];
  });
}
const walk = async (path: string): Promise<Flat[]> => flatten((await wadlOf(path)).resources ?? {});
const formsOf = ({ response = [] }: Wadl): (string | undefined)[] =>
  response.flatMap((answer) => (answer.representation ?? []).map((form) => form['@mediaType']));

test('CAP-1: OPTIONS / names every row of the routing table, and each one answers in each form it names', async () => {
  const flat = await walk('/');
  const named = flat.flatMap(({ path, resource }) =>
    (resource.method ?? []).map((method) => `${method['@name']} ${path}`),
  );
  const routed = ROUTES.map(({ method, path }) => `${method} ${path.replace(/[:*](\w+)/g, '{$1}')}`);
  assert.deepEqual(named.toSorted(), routed.toSorted());
  const ids = flat.flatMap(({ resource }) => (resource.method ?? []).map((method) => method['@id']));
  assert.equal(new Set(ids).size, ids.length);
  for (const { path, resource } of flat)
    for (const method of resource.method ?? []) {
      if (method['@name'] !== 'GET') continue;
      for (const accept of formsOf(method)) {
        assert.ok(accept !== undefined);
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
  for (const { path, resource } of await walk('/'))
    for (const { '@id': id = '', request } of resource.method ?? []) {
      if (!/^(Search|FindWorkitems)/.test(id)) continue;
      const url = door.url + path.replace(/\{\w+\}/g, (step) => VALUES[step] ?? step);
      for (const { '@name': name = '', '@style': style } of request?.param ?? []) {
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
  const { application } = (await response.json()) as Wadl;
  assert.equal(application?.resources?.['@base'], `${door.url}/studies/{study}/series`);
  assert.deepEqual(
    application.resources.resource?.map((resource) => resource['@path']),
    ['{series}'],
  );
  assert.ok(flatten(application.resources).some(({ path }) => path === '/{series}/instances/{instance}/metadata'));
  assert.equal((await options('/', { accept: 'text/csv' })).status, 406);
  assert.equal((await options('/nothing')).status, 404);
});

test('PS3.18-G-json: JSON is the WADL element by element: attributes with @, unique elements as objects, others as lists', async () => {
  const { application } = (await (await options('/', { accept: 'application/json' })).json()) as Wadl;
  const xml = await (await options('/')).text();
  assert.equal(application?.resources?.['@base'], door.url);
  const flat = flatten(application.resources);
  assert.equal(flat.length, xml.match(/<resource /g)?.length);
  const methods = flat.flatMap(({ resource }) => resource.method ?? []);
  assert.equal(methods.length, xml.match(/<method /g)?.length);
  assert.equal(
    methods.flatMap((method) => method.response ?? []).length,
    xml.match(/<response /g)?.length,
    'every response of every method',
  );
  assert.ok(methods.every(({ request }) => request !== undefined && !Array.isArray(request)));
  const study = flat.find(({ path }) => path === '/studies/{study}')?.resource;
  assert.deepEqual(study?.param, [
    { '@name': 'study', '@style': 'template', '@type': 'xsd:string', '@required': 'true' },
  ]);
});

test('PS3.18-8.8-capabilities: Capabilities say which character sets there are, and how searches are limited', async () => {
  const docs = (await wadlOf('/')).doc ?? [];
  const textOf = (title: string): string | undefined => docs.find((doc) => doc['@title'] === title)?.value;
  assert.equal(textOf('Character sets'), 'UTF-8 (ISO_IR 192)');
  assert.equal(textOf('Matches of one search'), 'at most 5000');
  assert.match(await (await options('/')).text(), /<doc title="Character sets">UTF-8 \(ISO_IR 192\)<\/doc>/);
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

test('CORS-3: a preflight names every header of conditional and ranged requests', async () => {
  const response = await options('/studies', { 'access-control-request-method': 'GET', origin: ORIGIN });
  const allowed = (response.headers.get('access-control-allow-headers') ?? '').split(', ');
  for (const name of ['If-Match', 'If-None-Match', 'If-Modified-Since', 'If-Unmodified-Since', 'If-Range', 'Range'])
    assert.ok(allowed.includes(name), name);
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
