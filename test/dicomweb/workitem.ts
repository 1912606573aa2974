/** Work items as clients send them. */
import assert from 'node:assert/strict';
import type { Door, JsonDataSet } from './door.ts';

type Element = { vr: string; Value?: unknown[] };

export const el = (vr: string, ...values: unknown[]): Element => (values.length === 0 ? { vr } : { vr, Value: values });

export const valueOf = (object: JsonDataSet, key: string): unknown => object[key]?.Value?.[0];

export const code = (value: string, scheme = 'DCM', meaning = value): JsonDataSet => ({
  '00080100': el('SH', value),
  '00080102': el('SH', scheme),
  '00080104': el('LO', meaning),
});

/** All that the N-CREATE column of PS3.4 table CC.2.5-3 wants, nothing that names a person. */
export function workitem(changes: JsonDataSet = {}): JsonDataSet {
  return {
    '00081195': el('UI'),
    '00741200': el('CS', 'MEDIUM'),
    '00741204': el('LO', 'Interpretation'),
    '00741202': el('LO', 'READING'),
    '00741210': el('SQ'),
    '00404025': el('SQ', code('WS1', '99LOCAL', 'Workstation 1')),
    '00404026': el('SQ'),
    '00404027': el('SQ'),
    '00404005': el('DT', '20260105120000+0000'),
    '00404018': el('SQ', code('110005', 'DCM', 'Interpretation')),
    '00400400': el('LT'),
    '00404041': el('CS', 'READY'),
    '00404021': el('SQ', { '0020000D': el('UI', '2.25.77'), '0020000E': el('UI', '2.25.78') }),
    '0020000D': el('UI', '2.25.77'),
    '00100010': el('PN'),
    '00100020': el('LO'),
    '00100021': el('LO'),
    '00100024': el('SQ'),
    '00101002': el('SQ'),
    '00100030': el('DA'),
    '00100040': el('CS'),
    '00380010': el('LO'),
    '00380014': el('SQ'),
    '00081080': el('LO'),
    '00081084': el('SQ'),
    '0040A370': el('SQ'),
    '00741000': el('CS', 'SCHEDULED'),
    '00741002': el('SQ'),
    '00741216': el('SQ'),
    ...changes,
  };
}

/** What a performer has to say before the step may be COMPLETED. */
export const PERFORMED: JsonDataSet = {
  '00741216': el('SQ', {
    '00404028': el('SQ', code('WS1', '99LOCAL', 'Workstation 1')),
    '00404050': el('DT', '20260105120100+0000'),
    '00404051': el('DT', '20260105120200+0000'),
    '00404019': el('SQ', code('110005', 'DCM', 'Interpretation')),
    '00404033': el('SQ'),
  }),
};

export const REASON: JsonDataSet = { '00741002': el('SQ', { '0074100E': el('SQ', code('110513')) }) };

export async function send(
  door: Door,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; warning: string | null; headers: Headers; text: string }> {
  const response = await fetch(`${door.url}${path}`, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/dicom+json' }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const warning = response.headers.get('warning');
  return {
    status: response.status,
    warning: warning === null ? null : warning.replace(`299 ${door.url}: `, ''),
    headers: response.headers,
    text: await response.text(),
  };
}

export function postWorkitem(door: Door, uid: string, changes: JsonDataSet = {}): ReturnType<typeof send> {
  return send(door, 'POST', `/workitems?${uid}`, workitem(changes));
}

export async function readWorkitem(door: Door, uid: string): Promise<JsonDataSet> {
  const { status, text } = await send(door, 'GET', `/workitems/${uid}`);
  assert.equal(status, 200);
  const [object, ...more] = JSON.parse(text) as JsonDataSet[];
  assert.ok(object !== undefined && more.length === 0);
  return object;
}

export function changeState(door: Door, uid: string, state: string, transaction?: string): ReturnType<typeof send> {
  return send(door, 'PUT', `/workitems/${uid}/state`, {
    '00741000': el('CS', state),
    ...(transaction === undefined ? {} : { '00081195': el('UI', transaction) }),
  });
}
