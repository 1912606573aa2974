/** dcmtk: C-ECHO, C-STORE in eight transfer syntaxes, C-FIND at every level, C-MOVE to its storescp, C-GET; dcmdump and dciodvfy read what came back. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { basename, join } from 'node:path';
import { freePort, until } from '../../peers/ports.ts';
import type { GatewayProcess } from '../../peers/gateway.ts';
import {
  PATIENT,
  assertNoIdentity,
  filesIn,
  mustRun,
  openGatewayFor,
  pixelsOf,
  runProgramme,
  search,
  sentStudy,
  valueOf,
} from './hospital.ts';
import type { Scene, Suite } from './suite.ts';

const SLICES = 8;
const SIZE = 128;

/** How each file is made of the Explicit VR LE one, and what storescu is told to propose. */
const SYNTAXES = [
  { name: 'Explicit VR Little Endian', uid: '1.2.840.10008.1.2.1', make: ['dcmconv', '+te'], propose: '-xe' },
  { name: 'Implicit VR Little Endian', uid: '1.2.840.10008.1.2', make: ['dcmconv', '+ti'], propose: '-xi' },
  { name: 'Explicit VR Big Endian', uid: '1.2.840.10008.1.2.2', make: ['dcmconv', '+tb'], propose: '-xb' },
  {
    name: 'Deflated Explicit VR Little Endian',
    uid: '1.2.840.10008.1.2.1.99',
    make: ['dcmconv', '+td'],
    propose: '-xd',
  },
  { name: 'RLE Lossless', uid: '1.2.840.10008.1.2.5', make: ['dcmcrle'], propose: '-xr' },
  { name: 'JPEG Lossless', uid: '1.2.840.10008.1.2.4.70', make: ['dcmcjpeg', '+e1'], propose: '-xs' },
  { name: 'JPEG Extended', uid: '1.2.840.10008.1.2.4.51', make: ['dcmcjpeg', '+ee'], propose: '-xx' },
  { name: 'JPEG-LS Lossless', uid: '1.2.840.10008.1.2.4.80', make: ['dcmcjpls'], propose: '-xt' },
] as const;

export const dcmtkSuite: Suite = {
  name: 'dcmtk',
  proves: 'echoscu, storescu, findscu, movescu and getscu of DCMTK work unmodified',
  missing: (tools) => tools.programme('echoscu', 'dcmtk') ?? tools.programme('findscu', 'dcmtk'),
  async run(scene) {
    const storage = await startStorescp(scene);
    const gateway = await openGatewayFor(scene, {
      settings: 'dimse: { viewers: [FINDSCU, MOVESCU, GETSCU] }\n',
      nodes: `nodes:
  viewer: { receives: pseudonyms, dimse: { aeTitle: STORESCP, host: 127.0.0.1, port: ${storage.port} } }
`,
    });
    const peer = ['-aec', 'ISTHMUS', '127.0.0.1', String(gateway.dimsePort)];

    await scene.check('echoscu: C-ECHO is answered', async () => {
      await mustRun('echoscu', peer);
    });
    const { files, objects } = sentStudy(scene, { slices: SLICES, size: SIZE });
    await store(scene, gateway, peer, files);
    const [study] = await search(gateway.base, 'studies?includefield=PatientID');
    assert.ok(study !== undefined, 'nothing was stored');
    const studyUID = valueOf(study, '0020000D');
    const series = await search(gateway.base, `studies/${studyUID}/series`);
    const seriesUID = valueOf(series[0], '0020000E');
    await find(scene, peer, { studyUID, seriesUID, patientID: valueOf(study, '00100020') });
    const moved = await move(scene, peer, { studyUID, seriesUID }, storage.folder);
    const got = await get(scene, peer, studyUID, objects);
    await judge(scene, [...moved, ...got]);
  },
};

async function store(
  scene: Scene,
  gateway: GatewayProcess,
  peer: readonly string[],
  files: readonly string[],
): Promise<void> {
  const made = join(scene.folder, 'made');
  mkdirSync(made);
  for (const [n, { name, uid, make, propose }] of SYNTAXES.entries()) {
    await scene.check(`storescu: ${name} is stored`, async () => {
      const [programme, ...options] = make;
      const file = join(made, `${n}.dcm`);
      await mustRun(programme, [...options, files[n] ?? '', file]);
      // Without leave to decode, storescu sends the file as it is or fails.
      await mustRun('storescu', ['-R', propose, '-aet', 'STORESCU', ...peer, file]);
      const stored = await search(
        gateway.base,
        `instances?InstanceNumber=${n + 1}&includefield=AvailableTransferSyntaxUID`,
      );
      assert.equal(stored.length, 1);
      // Compressed stays as it came; everything uncompressed rests in Explicit VR LE.
      const kept = uid.includes('.1.2.4.') || uid.endsWith('.1.2.5') ? uid : '1.2.840.10008.1.2.1';
      assert.ok(stored[0]?.['00083002']?.Value?.includes(kept), `not available as ${kept}`);
    });
  }
  await scene.check('storescu: the same objects again are a success and stay one', async () => {
    await mustRun('storescu', ['-R', '-xe', '-aet', 'STORESCU', ...peer, join(made, '0.dcm')]);
    assert.equal((await search(gateway.base, 'instances')).length, SYNTAXES.length);
  });
}

interface Found {
  readonly studyUID: string;
  readonly seriesUID: string;
  readonly patientID: string;
}

async function find(scene: Scene, peer: readonly string[], { studyUID, seriesUID, patientID }: Found): Promise<void> {
  const ask = async (model: string, keys: readonly string[]): Promise<string[]> => {
    const folder = join(scene.folder, `found-${++asked}`);
    mkdirSync(folder);
    await mustRun('findscu', [
      model,
      '-aet',
      'FINDSCU',
      ...peer,
      '-X',
      '-od',
      folder,
      ...keys.flatMap((key) => ['-k', key]),
    ]);
    const answers: string[] = [];
    for (const file of filesIn(folder)) answers.push(await mustRun('dcmdump', [file]));
    return answers;
  };
  let asked = 0;
  const study = `StudyInstanceUID=${studyUID}`;
  const series = `SeriesInstanceUID=${seriesUID}`;
  for (const model of ['-S', '-P'] as const) {
    const root = model === '-S' ? 'Study Root' : 'Patient Root';
    // Below the patient, every key above the level is needed (PS3.4 C.4.1.2.1).
    const above = model === '-P' ? [`PatientID=${patientID}`] : [];
    await scene.check(`findscu: studies, ${root}`, async () => {
      const keys = model === '-P' ? above : ['PatientID'];
      const answers = await ask(model, [
        'QueryRetrieveLevel=STUDY',
        'StudyInstanceUID',
        'PatientName',
        'ModalitiesInStudy',
        ...keys,
      ]);
      assert.equal(answers.length, 1);
      assert.ok(answers[0]?.includes(studyUID));
      assert.match(answers[0] ?? '', /ModalitiesInStudy|\(0008,0061\) CS \[CT\]/);
      assertNoIdentity(answers.join());
    });
    await scene.check(`findscu: series, ${root}`, async () => {
      const answers = await ask(model, [
        'QueryRetrieveLevel=SERIES',
        study,
        'SeriesInstanceUID',
        'Modality=CT',
        ...above,
      ]);
      assert.equal(answers.length, 1);
      assert.ok(answers[0]?.includes(seriesUID));
    });
    await scene.check(`findscu: images, ${root}`, async () => {
      const keys = ['QueryRetrieveLevel=IMAGE', study, series, 'SOPInstanceUID', 'InstanceNumber', ...above];
      assert.equal((await ask(model, keys)).length, SLICES);
    });
  }
  await scene.check('findscu: patients, Patient Root', async () => {
    const answers = await ask('-P', ['QueryRetrieveLevel=PATIENT', 'PatientID', 'PatientName']);
    assert.equal(answers.length, 1);
    assert.ok(answers[0]?.includes(patientID));
  });
  await scene.check('findscu: a key that matches nothing finds nothing', async () => {
    assert.equal(
      (await ask('-S', ['QueryRetrieveLevel=STUDY', `PatientID=${PATIENT.id}`, 'StudyInstanceUID'])).length,
      0,
    );
  });
  await scene.check('findscu: an AE title that is no viewer is refused', async () => {
    const { output } = await runProgramme('findscu', [
      '-v',
      '-S',
      '-aet',
      'STRANGER',
      ...peer,
      '-k',
      'QueryRetrieveLevel=STUDY',
      '-k',
      'StudyInstanceUID',
    ]);
    assert.match(output, /Final Find Response \(.*(0x0?124|NotAuthorized|Refused)/i);
    assert.ok(!output.includes(studyUID));
  });
}

async function move(
  scene: Scene,
  peer: readonly string[],
  { studyUID, seriesUID }: Pick<Found, 'studyUID' | 'seriesUID'>,
  folder: string,
): Promise<string[]> {
  const ask = (keys: readonly string[]): Promise<string> =>
    mustRun('movescu', [
      '-v',
      '-S',
      '-aet',
      'MOVESCU',
      '-aem',
      'STORESCP',
      ...peer,
      ...keys.flatMap((key) => ['-k', key]),
    ]);
  await scene.check('movescu: a study goes to storescp', async () => {
    await ask(['QueryRetrieveLevel=STUDY', `StudyInstanceUID=${studyUID}`]);
    assert.equal(filesIn(folder).length, SLICES);
  });
  const whole = filesIn(folder);
  await scene.check('movescu: a series goes to storescp', async () => {
    await ask(['QueryRetrieveLevel=SERIES', `StudyInstanceUID=${studyUID}`, `SeriesInstanceUID=${seriesUID}`]);
    assert.equal(filesIn(folder).length, SLICES, 'the same objects again');
  });
  await scene.check('movescu: an unknown destination is refused', async () => {
    const keys = ['-k', 'QueryRetrieveLevel=STUDY', '-k', `StudyInstanceUID=${studyUID}`];
    const { output } = await runProgramme('movescu', [
      '-v',
      '-S',
      '-aet',
      'MOVESCU',
      '-aem',
      'NOWHERE',
      ...peer,
      ...keys,
    ]);
    assert.match(output, /a801|MoveDestinationUnknown/i);
  });
  return whole;
}

async function get(
  scene: Scene,
  peer: readonly string[],
  studyUID: string,
  sent: readonly Buffer[],
): Promise<string[]> {
  const keys = ['-k', 'QueryRetrieveLevel=STUDY', '-k', `StudyInstanceUID=${studyUID}`];
  const uncompressed = join(scene.folder, 'got');
  mkdirSync(uncompressed);
  await scene.check('getscu: what is stored uncompressed arrives so, whatever else does', async () => {
    await runProgramme('getscu', ['-v', '-S', '-aet', 'GETSCU', ...peer, '-od', uncompressed, ...keys]);
    const got = filesIn(uncompressed).length;
    scene.note(`${got} of ${SLICES} objects over uncompressed contexts`);
    assert.ok(got >= SYNTAXES.filter(({ uid }) => !isCompressed(uid)).length);
  });
  await scene.check(
    'getscu: every object that was never compressed with loss has the pixels that were sent',
    async () => {
      for (const file of filesIn(uncompressed)) {
        const dump = await mustRun('dcmdump', ['+P', '0020,0013', '+P', '0028,2110', file]);
        const number = Number(/\(0020,0013\) IS \[(\d+)\]/.exec(dump)?.[1]);
        if (SYNTAXES[number - 1]?.name === 'JPEG Extended') continue;
        assert.ok(
          pixelsOf(readFileSync(file), SIZE).equals(pixelsOf(sent[number - 1] ?? Buffer.alloc(0), SIZE)),
          `instance ${number}`,
        );
      }
    },
  );
  return filesIn(uncompressed);
}

function isCompressed(uid: string): boolean {
  return uid.includes('.1.2.4.') || uid.endsWith('.1.2.5');
}

async function judge(scene: Scene, files: readonly string[]): Promise<void> {
  await scene.check('dcmdump: everything that came back is read, and names nobody', async () => {
    assert.ok(files.length > SLICES);
    for (const file of files) assertNoIdentity(await mustRun('dcmdump', ['+L', file]));
  });
  const missing = spawnSync('dciodvfy', [], { stdio: 'ignore' }).error;
  if (missing !== undefined) {
    scene.notRun('dciodvfy', 'dciodvfy is not installed (Debian package dicom3tools)');
    return;
  }
  await scene.check('dciodvfy: everything that came back satisfies its IOD', async () => {
    for (const file of files) {
      const { output } = await runProgramme('dciodvfy', [file]);
      const errors = output.split('\n').filter((line) => line.startsWith('Error'));
      assert.deepEqual(errors, [], basename(file));
    }
  });
}

async function startStorescp(scene: Scene): Promise<{ port: number; folder: string }> {
  const port = await freePort();
  const folder = join(scene.folder, 'storescp');
  mkdirSync(folder);
  const child = spawn('storescp', ['-od', folder, '+B', '+xa', '-aet', 'STORESCP', String(port)], { stdio: 'ignore' });
  scene.after(() => child.kill('SIGKILL'));
  await until('storescp to listen', () => answers(port), 20_000);
  return { port, folder };
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
