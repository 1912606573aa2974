/** Viewers without DICOMweb: query and retrieve over the archive, with dcmtk and Debian's Orthanc as viewers. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { storeInstance } from '../../src/archive/instances.ts';
import { findElement, type DataSet } from '../../src/dicom/data-set.ts';
import { toDicomJson, type DicomJson } from '../../src/dicom/json.ts';
import { fromDicomJson } from '../../src/dicom/json-reader.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { startScp } from '../../src/dimse/scp.ts';
import { openAssociation, release } from '../../src/dimse/scu.ts';
import { find, get, move } from '../../src/dimse/scu-query.ts';
import { queryClassUID, type QueryRoot } from '../../src/dimse/sop-classes.ts';
import { queryHandlers } from '../../src/workflow/query-retrieve.ts';
import { storeHandlers } from '../../src/workflow/receive.ts';
import { dataSetOffset, runPeer, scratch, startStorescp, withoutDcmtk } from '../dimse/peers.ts';
import { orthancMissing, startOrthanc } from '../peers/orthanc.ts';
import { freePort, until } from '../peers/ports.ts';
import { CT_IMAGE, MR_IMAGE, makeObject, type MadeObject, type ObjectOptions } from '../phantom/objects.ts';
import { openInFolder, type Opened } from './opened.ts';

const EXPLICIT_LE = '1.2.840.10008.1.2.1';
const IMPLICIT_LE = '1.2.840.10008.1.2';
const skip = withoutDcmtk();

const OBJECTS: readonly ObjectOptions[] = [
  {
    studyInstanceUID: '2.25.100',
    patientID: 'ALPHA',
    patientName: 'Alpha^Müller',
    studyDate: '20250101',
    instanceNumber: 1,
  },
  {
    studyInstanceUID: '2.25.100',
    patientID: 'ALPHA',
    patientName: 'Alpha^Müller',
    studyDate: '20250101',
    instanceNumber: 2,
  },
  {
    studyInstanceUID: '2.25.101',
    patientID: 'ALPHA',
    patientName: 'Alpha^Müller',
    studyDate: '20250601',
    sopClassUID: MR_IMAGE,
    modality: 'MR',
  },
  {
    studyInstanceUID: '2.25.200',
    patientID: 'BETA',
    patientName: 'Beta',
    studyDate: '20250301',
    accessionNumber: 'ACC7',
  },
];

interface Served extends Opened {
  readonly port: number;
  readonly made: readonly MadeObject[];
}

async function serve(
  t: TestContext,
  nodes = 'nodes: {}\n',
  viewers = '[VIEWER, FINDSCU, MOVESCU, GETSCU, ORTHANC]',
): Promise<Served> {
  const opened = await openInFolder(t, { gateway: `dimse: { viewers: ${viewers} }\n`, nodes });
  const made = OBJECTS.map((options) => makeObject({ rows: 8, columns: 8, ...options }));
  for (const { object } of made) await storeInstance(opened.gateway.archive, object);
  const scp = await startScp(
    { host: '127.0.0.1', port: 0, aeTitle: 'ISTHMUS', closeMs: 100 },
    { ...storeHandlers(opened.gateway), ...queryHandlers(opened.gateway) },
  );
  t.after(() => scp.close());
  return { ...opened, port: scp.port, made };
}

type Keys = Readonly<Record<string, string | undefined>>;
const VRS: Readonly<Record<string, string>> = {
  '00080052': 'CS',
  '00080060': 'CS',
  '00080061': 'CS',
  '00080020': 'DA',
  '00100010': 'PN',
  '00100020': 'LO',
  '00080050': 'SH',
  '0020000D': 'UI',
  '0020000E': 'UI',
  '00080018': 'UI',
  '00201200': 'IS',
  '00201206': 'IS',
  '00201208': 'IS',
  '00201209': 'IS',
  '00080080': 'LO',
  '00280010': 'US',
  '00081030': 'LO',
};

function identifier(keys: Keys): DataSet {
  const json: DicomJson = {};
  for (const [tag, value] of Object.entries(keys)) {
    const vr = VRS[tag] ?? 'LO';
    const shown = (value ?? '').split('\\').map((one) => (vr === 'PN' ? { Alphabetic: one } : one));
    json[tag] = (value === undefined || value === '' ? { vr } : { vr, Value: shown }) as DicomJson[string];
  }
  return fromDicomJson(json);
}

interface Answer {
  readonly status: number;
  readonly matches: Record<string, unknown>[];
  readonly raw: DataSet[];
}

/** First values by tag. */
async function ask(port: number, root: QueryRoot, keys: Keys, callingAE = 'VIEWER'): Promise<Answer> {
  const association = await openAssociation({
    host: '127.0.0.1',
    port,
    callingAE,
    calledAE: 'ISTHMUS',
    contexts: [{ sopClassUID: queryClassUID(root, 'find'), transferSyntaxUIDs: [EXPLICIT_LE] }],
  });
  const matches: Record<string, unknown>[] = [];
  const raw: DataSet[] = [];
  const status = await find(association, { root, identifier: identifier(keys) }, (match) => {
    raw.push(match);
    const json = toDicomJson(match);
    matches.push(
      Object.fromEntries(
        Object.entries(json).map(([tag, element]) => [
          'Value' in element ? tag : `${tag} empty`,
          'Value' in element ? element.Value?.[0] : '',
        ]),
      ),
    );
    return true;
  });
  await release(association);
  return { status, matches, raw };
}

test('CFIND-1: study root answers studies, series and instances with what was asked for and no more', async (t) => {
  const { port } = await serve(t);
  const studies = await ask(port, 'study', {
    '00080052': 'STUDY',
    '0020000D': '',
    '00100020': 'A*',
    '00201206': '',
    '00201208': '',
    '00201200': '',
  });
  assert.equal(studies.status, 0);
  assert.deepEqual(studies.matches, [
    {
      '00080052': 'STUDY',
      '00080054': 'ISTHMUS',
      '00080056': 'ONLINE',
      '00100020': 'ALPHA',
      '0020000D': '2.25.101',
      '00201200': 2,
      '00201206': 1,
      '00201208': 1,
    },
    {
      '00080052': 'STUDY',
      '00080054': 'ISTHMUS',
      '00080056': 'ONLINE',
      '00100020': 'ALPHA',
      '0020000D': '2.25.100',
      '00201200': 2,
      '00201206': 1,
      '00201208': 2,
    },
  ]);
  const series = await ask(port, 'study', {
    '00080052': 'SERIES',
    '0020000D': '2.25.101',
    '00080060': '',
    '00201209': '',
  });
  assert.equal(series.matches.length, 1);
  assert.equal(series.matches[0]?.['00080060'], 'MR');
  assert.equal(series.matches[0]['00201209'], 1);
  const seriesUID = String(
    (await ask(port, 'study', { '00080052': 'SERIES', '0020000D': '2.25.100' })).matches[0]?.['0020000E'],
  );
  const images = await ask(port, 'study', {
    '00080052': 'IMAGE',
    '0020000D': '2.25.100',
    '0020000E': seriesUID,
    '00080018': '',
    '00280010': '',
  });
  assert.deepEqual(
    images.matches.map((match) => match['00280010']),
    [8, 8],
  );
  assert.equal(new Set(images.matches.map((match) => match['00080018'])).size, 2);
});

test('CFIND-2: names, ranges, lists and text in UTF-8 are matched and answered', async (t) => {
  const { port } = await serve(t);
  const count = async (keys: Keys): Promise<number> =>
    (await ask(port, 'study', { '00080052': 'STUDY', ...keys })).matches.length;
  assert.equal(await count({ '00080020': '20250101-20250401' }), 2);
  assert.equal(await count({ '00080020': '20250301-' }), 2);
  assert.equal(await count({ '0020000D': '2.25.100\\2.25.200\\2.25.999' }), 2);
  assert.equal(await count({ '00100010': 'alpha^m*' }), 2);
  assert.equal(await count({ '00080061': 'MR' }), 1);
  assert.equal(await count({ '00080050': 'ACC?' }), 1);
  assert.equal(await count({ '00080050': 'acc7' }), 0);
  const { raw, matches } = await ask(port, 'study', {
    '00080052': 'STUDY',
    '00100010': 'Alpha^Müller',
    '00100020': '',
  });
  assert.deepEqual(matches[0]?.['00100010'], { Alphabetic: 'Alpha^Müller' });
  assert.ok(raw[0] !== undefined && findElement(raw[0], 0x00080005) !== undefined);
  assert.equal((await ask(port, 'study', { '00080052': 'STUDY', '00080020': 'yesterday' })).status, 0xc000);
});

test('CFIND-6: patient root has patients with their counts, and asks for them below', async (t) => {
  const { port } = await serve(t);
  const { matches } = await ask(port, 'patient', {
    '00080052': 'PATIENT',
    '00100020': '',
    '00100010': '',
    '00201200': '',
    '00080020': '',
  });
  assert.deepEqual(
    matches.map((match) => [match['00100020'], match['00201200'], match['00080020 empty']]),
    [
      ['ALPHA', 2, ''],
      ['BETA', 1, ''],
    ],
  );
  assert.equal((await ask(port, 'patient', { '00080052': 'STUDY', '00100020': 'ALPHA' })).matches.length, 2);
  const series = await ask(port, 'patient', { '00080052': 'SERIES', '00100020': 'ALPHA', '0020000D': '2.25.100' });
  assert.equal(series.matches[0]?.['00100020'], 'ALPHA');
  assert.equal(
    (await ask(port, 'patient', { '00080052': 'SERIES', '00100020': 'BETA', '0020000D': '2.25.100' })).matches.length,
    0,
  );
});

test('CFIND-7: a level that the model has not, and a level without the unique keys above it, are A900', async (t) => {
  const { port } = await serve(t);
  for (const [root, keys] of [
    ['study', {}],
    ['study', { '00080052': 'PATIENT' }],
    ['study', { '00080052': 'study' }],
    ['study', { '00080052': 'SERIES' }],
    ['study', { '00080052': 'SERIES', '0020000D': '2.25.100\\2.25.101' }],
    ['study', { '00080052': 'IMAGE', '0020000D': '2.25.100' }],
    ['patient', { '00080052': 'STUDY' }],
    ['patient', { '00080052': 'STUDY', '00100020': 'A*' }],
  ] as const) {
    assert.equal((await ask(port, root, keys)).status, 0xa900, JSON.stringify(keys));
  }
});

test('CFIND-8: a key that cannot be matched on is told with each match', { skip }, async (t) => {
  const { port } = await serve(t);
  const args = [
    '-S',
    '-v',
    '-aec',
    'ISTHMUS',
    '127.0.0.1',
    String(port),
    '-k',
    'QueryRetrieveLevel=STUDY',
    '-k',
    'PatientComments=Nowhere',
  ];
  const { code, output } = await runPeer('findscu', args);
  assert.equal(code, 0, output);
  assert.equal(output.match(/WarningUnsupportedOptionalKeys/g)?.length, 3, output);
});

test('QR-2: who is not among the viewers is told so, finds nothing and gets nothing', async (t) => {
  for (const viewers of ['[]', '[OTHER]']) {
    const { port, gateway } = await serve(t, undefined, viewers);
    assert.deepEqual(await ask(port, 'study', { '00080052': 'STUDY' }), { status: 0x0124, matches: [], raw: [] });
    const association = await openAssociation({
      host: '127.0.0.1',
      port,
      callingAE: 'VIEWER',
      calledAE: 'ISTHMUS',
      contexts: [{ sopClassUID: queryClassUID('study', 'get'), transferSyntaxUIDs: [EXPLICIT_LE] }],
    });
    const all = identifier({ '00080052': 'STUDY', '0020000D': '2.25.100' });
    assert.equal((await get(association, { root: 'study', identifier: all })).status, 0x0124);
    await release(association);
    const alerts = gateway.database.all("SELECT actor FROM audit WHERE event = 'Security Alert'");
    assert.deepEqual(
      alerts.map((row) => row['actor']),
      ['VIEWER', 'VIEWER'],
    );
  }
});

test('CGET-1: a study, a series and an image come by C-GET as they were stored, or in Implicit VR', async (t) => {
  const { port, made } = await serve(t);
  const seriesUID = String(
    (await ask(port, 'study', { '00080052': 'SERIES', '0020000D': '2.25.100' })).matches[0]?.['0020000E'],
  );
  const one = made[1]?.object.sopInstanceUID ?? '';
  for (const syntax of [EXPLICIT_LE, IMPLICIT_LE]) {
    for (const [keys, count] of [
      [{ '00080052': 'STUDY', '0020000D': '2.25.100\\2.25.101' }, 3],
      [{ '00080052': 'SERIES', '0020000D': '2.25.100', '0020000E': seriesUID }, 2],
      [{ '00080052': 'IMAGE', '0020000D': '2.25.100', '0020000E': seriesUID, '00080018': one }, 1],
      [{ '00080052': 'STUDY', '0020000D': '2.25.404' }, 0],
    ] as const) {
      const got: Buffer[] = [];
      const association = await openAssociation({
        host: '127.0.0.1',
        port,
        callingAE: 'VIEWER',
        calledAE: 'ISTHMUS',
        contexts: [
          { sopClassUID: queryClassUID('study', 'get'), transferSyntaxUIDs: [syntax] },
          { sopClassUID: CT_IMAGE, transferSyntaxUIDs: [syntax], asScp: true },
          { sopClassUID: MR_IMAGE, transferSyntaxUIDs: [syntax], asScp: true },
        ],
        async serve({ dataSet }) {
          const slices: Buffer[] = [];
          for await (const slice of dataSet) slices.push(slice);
          got.push(Buffer.concat(slices));
          return 0;
        },
      });
      const outcome = await get(association, { root: 'study', identifier: identifier(keys) });
      assert.deepEqual(outcome, { status: 0, completed: count, failed: 0, warnings: 0 });
      await release(association);
      if (count === 1 && syntax === EXPLICIT_LE) {
        const stored = made[1]?.bytes ?? Buffer.alloc(0);
        assert.deepEqual(got[0], stored.subarray(readHead(stored).head.dataSet.start));
      }
    }
  }
});

const receiverNode = (port: number, more = ''): string => `nodes:
  research:
    receives: pseudonyms
    dimse: { aeTitle: RESEARCH, host: 127.0.0.1, port: ${port} }
${more}`;

test('CMOVE-4: objects move to a receiver of pseudonyms and to nobody else', { skip }, async (t) => {
  const folder = scratch(t);
  const receiver = await startStorescp(t, folder);
  const pacsFolder = scratch(t);
  const pacs = await startStorescp(t, pacsFolder);
  const { port, made } = await serve(
    t,
    receiverNode(
      receiver,
      `  pacs: { dimse: { aeTitle: PACS, host: 127.0.0.1, port: ${pacs} }, deliverBy: dimse, proof: status }\n`,
    ),
  );
  const args = (to: string): string[] => [
    '-S',
    '-v',
    '-aec',
    'ISTHMUS',
    '-aem',
    to,
    '127.0.0.1',
    String(port),
    '-k',
    'QueryRetrieveLevel=STUDY',
    '-k',
    'StudyInstanceUID=2.25.100',
  ];
  const moved = await runPeer('movescu', args('RESEARCH'));
  assert.equal(moved.code, 0, moved.output);
  assert.equal(readdirSync(folder).length, 2);
  const stored = made
    .slice(0, 2)
    .map(({ bytes }) => bytes.subarray(readHead(bytes).head.dataSet.start).toString('hex'));
  const arrived = readdirSync(folder).map((name) => {
    const file = readFileSync(join(folder, name));
    return file.subarray(dataSetOffset(file)).toString('hex');
  });
  assert.deepEqual(arrived.sort(), stored.sort());
  for (const to of ['PACS', 'ISTHMUS', 'MOVESCU', 'pacs', 'RESEARCH2']) {
    const refused = await runPeer('movescu', args(to));
    assert.match(refused.output, /MoveDestinationUnknown|0xa801/i, to);
  }
  assert.deepEqual(readdirSync(pacsFolder), []);
});

test('CMOVE-5: a node is a place for results or for pseudonyms, never for both', async (t) => {
  const refused = async (nodes: string, expected: RegExp, rules?: string): Promise<void> => {
    await assert.rejects(openInFolder(t, { nodes, ...(rules === undefined ? {} : { rules }) }), (error) => {
      assert.ok(error instanceof Refusal && error.reason === 'BadConfiguration', String(error));
      assert.match(error.message, expected);
      return true;
    });
  };
  const pacs = (aeTitle: string, host: string, port: number, web = ''): string =>
    `  pacs: { dimse: { aeTitle: ${aeTitle}, host: ${host}, port: ${port} }, ${web}deliverBy: dimse, proof: status }\n`;
  await refused(receiverNode(4242, pacs('RESEARCH', 'pacs.example.org', 104)), /AE title or address of pacs/);
  await refused(receiverNode(4242, pacs('PACS', 'localhost', 4242)), /AE title or address of pacs/);
  await refused(
    receiverNode(4242, pacs('PACS', '127.0.0.1', 104, "dicomweb: { url: 'http://localhost:4242/dicom-web' }, ")),
    /AE title or address/,
  );
  await refused(`${receiverNode(4242)}    deliverBy: dimse\n    proof: status\n`, /deliverBy|proof|research/);
  await refused('nodes:\n  pacs: { dimse: { aeTitle: PACS, host: 127.0.0.1, port: 104 } }\n', /deliverBy|proof|pacs/);
  await refused(
    'nodes:\n  r: { receives: pseudonym, dimse: { aeTitle: R, host: 127.0.0.1, port: 104 } }\n',
    /receives|r/,
  );
  await refused(
    receiverNode(4242),
    /research/,
    `admission:\n  - { name: all, when: { modality: CT }, project: p, profile: basic }\nprocessing:\n  - { name: d, when: { modality: CT }, run: ct-denoise, deliver: [research] }\n`,
  );
});

test('QR-3: Orthanc searches and has what it finds sent to itself', { skip: orthancMissing() ?? false }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-viewer-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  // The port of the gateway has to be known to Orthanc before Orthanc's is known to the gateway.
  const dimsePort = await freePort();
  const orthanc = await startOrthanc(folder, { modalities: { isthmus: { aet: 'ISTHMUS', port: dimsePort } } });
  t.after(() => orthanc.stop());
  const opened = await openInFolder(t, {
    gateway: 'dimse: { viewers: [ORTHANC] }\n',
    nodes: `nodes:\n  viewer: { receives: pseudonyms, dimse: { aeTitle: ORTHANC, host: 127.0.0.1, port: ${orthanc.dicomPort} } }\n`,
  });
  for (const options of OBJECTS)
    await storeInstance(opened.gateway.archive, makeObject({ rows: 8, columns: 8, ...options }).object);
  const scp = await startScp(
    { host: '127.0.0.1', port: dimsePort, aeTitle: 'ISTHMUS', closeMs: 100 },
    { ...storeHandlers(opened.gateway), ...queryHandlers(opened.gateway) },
  );
  t.after(() => scp.close());
  const post = async (path: string, body: unknown): Promise<Record<string, unknown>> => {
    const reply = await fetch(`${orthanc.base}${path}`, {
      method: 'POST',
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(60_000),
    });
    assert.equal(reply.status, 200, path);
    return (await reply.json()) as Record<string, unknown>;
  };
  const { ID } = await post('/modalities/isthmus/query', {
    Level: 'Study',
    Query: { PatientID: 'ALPHA', StudyDescription: '' },
  });
  const answers = (await (await fetch(`${orthanc.base}/queries/${String(ID)}/answers`)).json()) as string[];
  assert.equal(answers.length, 2);
  await post(`/queries/${String(ID)}/retrieve`, { TargetAet: 'ORTHANC', Synchronous: true });
  await until(
    'the objects to arrive',
    async () => ((await (await fetch(`${orthanc.base}/instances`)).json()) as string[]).length === 3,
    20_000,
  );
});

test('PS3.4-C.4.2-patient: a move in the patient root fetches all of a patient', async (t) => {
  const folder = scratch(t);
  if (skip !== false) return t.skip(skip);
  const receiver = await startStorescp(t, folder);
  const { port } = await serve(t, receiverNode(receiver));
  const association = await openAssociation({
    host: '127.0.0.1',
    port,
    callingAE: 'VIEWER',
    calledAE: 'ISTHMUS',
    contexts: [{ sopClassUID: queryClassUID('patient', 'move'), transferSyntaxUIDs: [IMPLICIT_LE] }],
  });
  const patient = (values: Keys): DataSet => identifier({ '00080052': 'PATIENT', ...values });
  const moved = await move(association, { root: 'patient', identifier: patient({ '00100020': 'ALPHA' }) }, 'RESEARCH');
  assert.deepEqual(moved, { status: 0, completed: 3, failed: 0, warnings: 0 });
  for (const values of [{}, { '00100020': 'A*' }]) {
    assert.equal(
      (await move(association, { root: 'patient', identifier: patient(values) }, 'RESEARCH')).status,
      0xa900,
    );
  }
  await release(association);
});
