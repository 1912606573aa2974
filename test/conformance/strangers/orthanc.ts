/** Debian's Orthanc as a stranger: its DICOMweb client queries, retrieves from and stores to us; its DIMSE side echoes, finds, moves and stores. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { orthancMissing, startOrthanc, type Orthanc } from '../../peers/orthanc.ts';
import { freePort, until } from '../../peers/ports.ts';
import { PATIENT, assertNoIdentity, openGatewayFor, pixelsOf, search, sentStudy, valueOf } from './hospital.ts';
import type { Scene, Suite } from './suite.ts';

const SLICES = 4;
const SIZE = 96;

export const orthancSuite: Suite = {
  name: 'orthanc',
  proves:
    'Orthanc queries, retrieves and stores as a DICOMweb client, and echoes, finds, moves and stores as a DIMSE peer',
  missing: () => orthancMissing(),
  async run(scene) {
    const httpPort = await freePort();
    const dimsePort = await freePort();
    // One is the hospital that sends, the other a research archive that takes pseudonyms.
    const hospital = await start(scene, 'hospital', httpPort, dimsePort);
    const research = await start(scene, 'research', httpPort, dimsePort);
    const gateway = await openGatewayFor(scene, {
      // An empty answer with status 204, as PS3.18 says, is an error to this client: what the setting is there for.
      settings: 'dimse: { viewers: [ORTHANC] }\nhttp: { emptySearch: 200 }\n',
      nodes: `nodes:
  research: { receives: pseudonyms, dimse: { aeTitle: ORTHANC, host: 127.0.0.1, port: ${research.dicomPort} } }
`,
      httpPort: String(httpPort),
      dimsePort: String(dimsePort),
    });
    const study = sentStudy(scene, { slices: SLICES, size: SIZE });
    let inHospital = '';
    for (const object of study.objects) {
      const answer = await post<{ ParentStudy: string }>(hospital, '/instances', object);
      inHospital = answer.ParentStudy;
    }

    await scene.check('stow: /servers/isthmus/stow puts the study into the gateway', async () => {
      await post(hospital, '/dicom-web/servers/isthmus/stow', { Resources: [inHospital], Synchronous: true });
      assert.equal((await search(gateway.base, 'instances')).length, SLICES);
    });
    await scene.check('DIMSE: /modalities/isthmus/echo', async () => {
      await post(hospital, '/modalities/isthmus/echo', {});
    });
    await scene.check('DIMSE: /modalities/isthmus/store, the same study again, stays one', async () => {
      await post(hospital, '/modalities/isthmus/store', inHospital);
      assert.equal((await search(gateway.base, 'instances')).length, SLICES);
    });

    const [found] = await search(gateway.base, 'studies');
    const studyUID = valueOf(found, '0020000D');
    const [series] = await search(gateway.base, `studies/${studyUID}/series`);
    const seriesUID = valueOf(series, '0020000E');
    const [instance] = await search(gateway.base, `studies/${studyUID}/series/${seriesUID}/instances?InstanceNumber=1`);
    const sopUID = valueOf(instance, '00080018');
    const isStored = async (): Promise<string> => {
      const ids = await get<string[]>(research, '/instances');
      assert.equal(ids.length, SLICES);
      return ids[0] ?? '';
    };
    const empty = async (): Promise<void> => {
      for (const id of await get<string[]>(research, '/patients')) await remove(research, `/patients/${id}`);
      assert.equal((await get<string[]>(research, '/instances')).length, 0);
    };

    await scene.check('get: /servers/isthmus/get brings search results as JSON', async () => {
      const answer = await post<Record<string, { Value?: string[] }>[]>(research, '/dicom-web/servers/isthmus/get', {
        Uri: '/studies',
        Arguments: { ModalitiesInStudy: 'CT' },
      });
      assert.equal(answer.length, 1);
      assert.equal(answer[0]?.['0020000D']?.Value?.[0], studyUID);
    });
    await scene.check('qido: /servers/isthmus/qido finds studies', async () => {
      const answer = await post<Record<string, { Value: string }>[]>(research, '/dicom-web/servers/isthmus/qido', {
        Uri: '/studies',
        Arguments: { StudyInstanceUID: studyUID },
      });
      assert.equal(answer.length, 1);
      assert.ok(JSON.stringify(answer).includes(studyUID), JSON.stringify(answer));
      assertNoIdentity(JSON.stringify(answer));
    });
    await scene.check('qido: instances of a series', async () => {
      const answer = await post<unknown[]>(research, '/dicom-web/servers/isthmus/qido', {
        Uri: `/studies/${studyUID}/series/${seriesUID}/instances`,
        Arguments: {},
      });
      assert.equal(answer.length, SLICES);
    });
    await scene.check('qido: nothing found is an empty list', async () => {
      const answer = await post<unknown>(research, '/dicom-web/servers/isthmus/qido', {
        Uri: '/studies',
        Arguments: { PatientID: PATIENT.id },
      });
      assert.deepEqual(answer, []);
    });
    for (const [what, resource, count] of [
      ['a study', { Study: studyUID }, SLICES],
      ['a series', { Study: studyUID, Series: seriesUID }, SLICES],
      ['an instance', { Study: studyUID, Series: seriesUID, Instance: sopUID }, 1],
    ] as const) {
      await scene.check(`retrieve: ${what} arrives by WADO-RS`, async () => {
        await empty();
        const answer = await post<{ ReceivedInstancesCount: string }>(research, '/dicom-web/servers/isthmus/retrieve', {
          Resources: [resource],
          Synchronous: true,
        });
        assert.equal(Number(answer.ReceivedInstancesCount), count);
        assert.equal((await get<string[]>(research, '/instances')).length, count);
      });
    }
    await scene.check('wado: /servers/isthmus/get brings metadata', async () => {
      const answer = await post<Record<string, { Value?: unknown[] }>[]>(research, '/dicom-web/servers/isthmus/get', {
        Uri: `/studies/${studyUID}/metadata`,
      });
      assert.equal(answer.length, SLICES);
      assert.ok(answer.every((dataSet) => dataSet['00280010']?.Value?.[0] === SIZE));
    });
    await scene.check('DIMSE: /modalities/isthmus/query finds the study, and its C-MOVE brings it', async () => {
      await empty();
      const { ID } = await post<{ ID: string }>(research, '/modalities/isthmus/query', {
        Level: 'Study',
        Query: { StudyInstanceUID: studyUID, PatientName: '' },
      });
      const answers = await get<Record<string, string>[]>(research, `/queries/${ID}/answers?expand&simplify`);
      assert.equal(answers.length, 1);
      assert.equal(answers[0]?.['StudyInstanceUID'], studyUID);
      assertNoIdentity(JSON.stringify(answers));
      await post(research, `/queries/${ID}/retrieve`, 'ORTHANC');
      await until(
        'the moved study',
        async () => (await get<string[]>(research, '/instances')).length === SLICES,
        30_000,
      );
    });
    await scene.check('what arrived has the pixels that were sent, and names nobody', async () => {
      await isStored();
      for (const id of await get<string[]>(research, '/instances')) {
        const tags = await get<Record<string, string>>(research, `/instances/${id}/simplified-tags`);
        assertNoIdentity(JSON.stringify(tags));
        const frame = Buffer.from(await (await fetch(`${research.base}/instances/${id}/frames/0/raw`)).arrayBuffer());
        const sent = pixelsOf(study.objects[Number(tags['InstanceNumber']) - 1] ?? Buffer.alloc(0), SIZE);
        assert.ok(frame.equals(sent), `the pixels of instance ${tags['InstanceNumber']} differ`);
      }
    });
  },
};

async function start(scene: Scene, name: string, httpPort: number, dimsePort: number): Promise<Orthanc> {
  const orthanc = await startOrthanc(join(scene.folder, name), {
    modalities: { isthmus: { aet: 'ISTHMUS', port: dimsePort } },
    servers: { isthmus: `http://127.0.0.1:${httpPort}/dicom-web/` },
  });
  scene.after(() => orthanc.stop());
  return orthanc;
}

async function post<T = unknown>(orthanc: Orthanc, path: string, body: unknown): Promise<T> {
  const reply = await fetch(`${orthanc.base}${path}`, {
    method: 'POST',
    body: typeof body === 'string' || Buffer.isBuffer(body) ? new Uint8Array(Buffer.from(body)) : JSON.stringify(body),
    signal: AbortSignal.timeout(60_000),
  });
  const text = await reply.text();
  assert.equal(reply.status, 200, `POST ${path} was answered with ${reply.status}: ${text}`);
  return (text === '' ? undefined : parsed(text)) as T;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

async function get<T>(orthanc: Orthanc, path: string): Promise<T> {
  const reply = await fetch(`${orthanc.base}${path}`);
  assert.equal(reply.status, 200, path);
  return (await reply.json()) as T;
}

async function remove(orthanc: Orthanc, path: string): Promise<void> {
  assert.equal((await fetch(`${orthanc.base}${path}`, { method: 'DELETE' })).status, 200, path);
}
