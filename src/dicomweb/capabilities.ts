/**
 * Retrieve Capabilities (PS3.18 8.9, Annexes G and H): the table that routes, told to machines as WADL in XML or JSON, the whole
 * service or what lies below one resource.
 */
import { matchingKeys, type Level } from '../archive/search.ts';
import { keywordOf } from '../dicom/dictionary.ts';
import { CHARACTER_SETS } from './charset.ts';
import { negotiate, sendBytes, type Exchange } from './exchange.ts';
import type { Offer } from './media-type.ts';
import { STEP_KEYS } from '../workitems/attributes.ts';
import { MAX_RESULTS } from './search-answer.ts';
import type { Route } from './router.ts';
import { BOOLEAN_PARAMETERS } from './search-request.ts';
import { formatWadlJson, formatWadlXml, type WadlElement } from './wadl.ts';

const WADL: Offer = { multipart: false, type: 'application/vnd.sun.wadl+xml' };
const JSON_FORM: Offer = { multipart: false, type: 'application/json' };

export interface Parameter {
  readonly name: string;
  readonly style: 'query' | 'header';
  readonly type: string;
  readonly options?: readonly string[];
}

export interface Method {
  readonly name: string;
  readonly id: string;
  readonly parameters: readonly Parameter[];
  readonly accepts: readonly string[];
  readonly statuses: readonly number[];
  readonly representations: readonly string[];
}

/** One step of a path, `{name}` where any UID, number or list may stand. */
export interface Resource {
  readonly path: string;
  readonly methods: readonly Method[];
  readonly resources: readonly Resource[];
}

const STATUSES: Readonly<Record<Route['transaction'], readonly number[]>> = {
  Search: [200, 204, 400, 401, 403, 406, 413],
  Retrieve: [200, 206, 304, 400, 401, 403, 404, 406, 410, 412, 416],
  Store: [200, 202, 400, 401, 403, 406, 409, 413, 415, 503, 507],
  Delete: [204, 400, 401, 403, 404, 409, 410, 412, 507],
  'Create Workitem': [201, 400, 401, 403, 409, 413, 415],
  'Retrieve Workitem': [200, 400, 401, 403, 404, 406, 410],
  'Update Workitem': [200, 400, 401, 403, 404, 409, 410, 413, 415],
  'Change Workitem State': [200, 400, 401, 403, 404, 409, 410, 413, 415],
  'Request Cancellation': [202, 400, 401, 403, 404, 409, 410, 413, 415],
  'Find Workitems': [200, 204, 400, 401, 403, 406],
  Subscribe: [201, 400, 401, 403, 404, 410],
  Unsubscribe: [200, 400, 401, 403, 404, 410],
  'Suspend Global Subscription': [200, 400, 401, 403, 404],
  'Open Notification Connection': [101, 400, 401, 403, 426, 503],
  'Read Change Feed': [200, 204, 400, 401, 403, 406],
};

export function describeMethod(route: Route): Method {
  const parameters: Parameter[] = [];
  for (const name of route.query ?? []) parameters.push({ name, style: 'query', type: 'xsd:string' });
  if (route.transaction === 'Search') parameters.push(...searchParameters(matchingKeys(levelOf(route))));
  if (route.transaction === 'Find Workitems') parameters.push(...searchParameters(STEP_KEYS));
  parameters.push(...(OWN_PARAMETERS[route.transaction] ?? []));
  if (route.path === '/changefeed') parameters.push(...FEED_PARAMETERS);
  if (route.representations.length > 0) {
    const options = route.representations;
    parameters.push({ name: 'Accept', style: 'header', type: 'xsd:string', options });
    parameters.push({ name: 'accept', style: 'query', type: 'xsd:string', options });
    if (route.query?.includes('charset') !== true) parameters.push({ ...text('charset'), options: CHARACTER_SETS });
  }
  const words = route.path.split(/[^A-Za-z]+/).filter((word) => word !== '');
  return {
    name: route.method,
    id:
      route.transaction.replaceAll(' ', '') +
      words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join(''),
    parameters,
    accepts: route.accepts,
    statuses: STATUSES[route.transaction],
    representations: route.representations,
  };
}

/** What a search resource answers with, by the last word of its path. */
function levelOf({ path }: Route): Level {
  return path.endsWith('/studies') ? 'study' : path.endsWith('/series') ? 'series' : 'instance';
}

function text(name: string, type = 'xsd:string'): Parameter {
  return { name, style: 'query', type };
}

const BOOLEAN = ['true', 'false'];
const FEED_PARAMETERS: readonly Parameter[] = [
  text('offset', 'xsd:nonNegativeInteger'),
  text('limit', 'xsd:positiveInteger'),
  text('startTime', 'xsd:dateTime'),
  text('endTime', 'xsd:dateTime'),
];
const OWN_PARAMETERS: Readonly<Partial<Record<Route['transaction'], readonly Parameter[]>>> = {
  'Create Workitem': [text('workitem')],
  'Update Workitem': [text('transaction-uid')],
  'Read Change Feed': [{ ...text('includeMetadata', 'xsd:boolean'), options: BOOLEAN }],
  Subscribe: [{ ...text('deletionlock', 'xsd:boolean'), options: BOOLEAN }, text('filter')],
};

function searchParameters(keys: readonly (readonly number[])[]): Parameter[] {
  return [
    ...keys.map((path) => text(path.map(keywordOf).join('.'))),
    ...BOOLEAN_PARAMETERS.map((name): Parameter => ({ ...text(name, 'xsd:boolean'), options: BOOLEAN })),
    text('includefield'),
    text('limit', 'xsd:nonNegativeInteger'),
    text('offset', 'xsd:nonNegativeInteger'),
  ];
}

/** The tree of paths below `base`, which is `/` for the whole service. */
function resourceTree(routes: readonly Route[], base: string): Resource[] {
  const below = base === '/' ? '' : base;
  const wanted = routes.filter(({ path }) => path === below || path.startsWith(`${below}/`));
  const parent = below.slice(0, below.lastIndexOf('/'));
  return childrenOf(wanted, below === '' ? '' : parent);
}

function childrenOf(routes: readonly Route[], parent: string): Resource[] {
  const steps = new Set(routes.map(({ path }) => path.slice(parent.length + 1).split('/')[0] ?? ''));
  return [...steps]
    .filter((step) => step !== '')
    .map((step) => {
      const path = `${parent}/${step}`;
      return {
        path: /^[:*]/.test(step) ? `{${step.slice(1)}}` : step,
        methods: routes.filter((route) => route.path === path).map(describeMethod),
        resources: childrenOf(
          routes.filter((route) => route.path.startsWith(`${path}/`)),
          path,
        ),
      };
    });
}

/** Answers OPTIONS that is no browser's preflight. `path` is a row's path, or `/`. */
export async function retrieveCapabilities(
  exchange: Exchange,
  routes: readonly Route[],
  path: string,
  allowed: readonly string[],
): Promise<void> {
  const { response, baseUrl } = exchange;
  const { offer } = negotiate(exchange, [WADL, JSON_FORM]);
  const resources = resourceTree(routes, path);
  response.setHeader('Allow', allowed.join(', '));
  response.setHeader('Cache-Control', 'no-cache');
  const parent = path === '/' ? '' : path.slice(0, path.lastIndexOf('/')).replace(/[:*](\w+)/g, '{$1}');
  const wadl = describeService(baseUrl + parent, resources);
  const text = offer === WADL ? formatWadlXml(wadl) : formatWadlJson(wadl);
  await sendBytes(exchange, 200, offer.type, Buffer.from(text));
}

/** What PS3.18 8.8 and 10.6.5 want said of the whole service. */
const SERVICE = {
  'Character sets': 'UTF-8 (ISO_IR 192)',
  'Matches of one search': `at most ${MAX_RESULTS}`,
  'Fuzzy, empty value and multiple value matching': 'supported by every search',
};

/** One application with one resources (PS3.18 Annex H). */
function describeService(base: string, resources: readonly Resource[]): WadlElement {
  const docs = Object.entries(SERVICE).map(([title, text]): WadlElement => ({
    name: 'doc',
    attributes: { title },
    children: [],
    text,
  }));
  return element(
    'application',
    { xmlns: 'http://wadl.dev.java.net/2009/02', 'xmlns:xsd': 'http://www.w3.org/2001/XMLSchema' },
    [...docs, element('resources', { base }, resources.map(resourceElement))],
  );
}

function resourceElement({ path, methods, resources }: Resource): WadlElement {
  const name = /^\{(\w+)\}$/.exec(path)?.[1];
  const own = { name: name ?? '', style: 'template', type: 'xsd:string', required: 'true' };
  return element('resource', { path }, [
    ...(name === undefined ? [] : [element('param', own)]),
    ...methods.map(methodElement),
    ...resources.map(resourceElement),
  ]);
}

function methodElement({ name, id, parameters, accepts, statuses, representations }: Method): WadlElement {
  const types = (list: readonly string[]): WadlElement[] =>
    list.map((mediaType) => element('representation', { mediaType }));
  return element('method', { name, id }, [
    element('request', {}, [...parameters.map(parameterElement), ...types(accepts)]),
    ...statuses.map((status) =>
      element('response', { status: `${status}` }, status === 200 ? types(representations) : []),
    ),
  ]);
}

function parameterElement({ name, style, type, options = [] }: Parameter): WadlElement {
  return element(
    'param',
    { name, style, type },
    options.map((value) => element('option', { value })),
  );
}

function element(
  name: string,
  attributes: Readonly<Record<string, string>>,
  children: readonly WadlElement[] = [],
): WadlElement {
  return { name, attributes, children };
}
