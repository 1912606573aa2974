/** The npm package dcmjs-dimse as an interop peer: SCU for C-ECHO, C-STORE, C-FIND, C-MOVE and C-GET against us, SCP for what we send and deliver. */
import assert from 'node:assert/strict';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { until } from '../../peers/ports.ts';
import { PATIENT, openGatewayFor, search, sentStudy, valueOf } from './hospital.ts';
import type { Scene, Suite } from './suite.ts';

const SLICES = 6;
/** ct-denoise wants pixels of at most 2 mm. */
const SIZE = 192;
const SUCCESS = 0;
const PENDING = 0xff00;

interface Dataset {
  getElements(): Record<string, unknown>;
}
interface Response {
  getStatus(): number;
  setStatus(status: number): void;
  hasDataset(): boolean;
  getDataset(): Dataset;
}
interface Request {
  on(event: 'response', take: (response: Response) => void): void;
  getDataset(): Dataset;
}
interface Context {
  getAbstractSyntaxUid(): string;
  getTransferSyntaxUids(): string[];
  setResult(result: number, transferSyntaxUID?: string): void;
}
interface Association {
  getPresentationContexts(): { id: number }[];
  getPresentationContext(id: number): Context;
}
interface Client {
  addRequest(request: Request): void;
  on(event: string, take: (...given: never[]) => void): void;
  send(host: string, port: number, callingAE: string, calledAE: string): void;
}
interface ScpBase {
  sendAssociationAccept(): void;
  sendAssociationReleaseResponse(): void;
}
/** What is used of the package. */
interface Package {
  readonly Client: new () => Client;
  readonly Scp: new (socket: Socket, options: object) => ScpBase;
  readonly log: { setLevel(level: string): void };
  readonly requests: {
    readonly CEchoRequest: new () => Request;
    readonly CStoreRequest: new (file: string) => Request;
    readonly CFindRequest: Record<
      'createStudyFindRequest' | 'createSeriesFindRequest' | 'createImageFindRequest',
      (elements: object) => Request
    >;
    readonly CMoveRequest: { createStudyMoveRequest(destinationAE: string, studyInstanceUID: string): Request };
    readonly CGetRequest: { createStudyGetRequest(studyInstanceUID: string): Request };
  };
  readonly responses: Record<'CEchoResponse' | 'CStoreResponse', { fromRequest(request: Request): Response }>;
  readonly constants: {
    readonly PresentationContextResult: Record<'Accept' | 'RejectTransferSyntaxesNotSupported', number>;
  };
}

export const dimseJsSuite: Suite = {
  name: 'dcmjs-dimse',
  proves: 'dcmjs-dimse as SCU against us and as SCP of what we send',
  missing(tools) {
    const found = tools.npm();
    return 'missing' in found ? found.missing : undefined;
  },
  async run(scene) {
    const found = scene.tools.npm();
    if ('missing' in found) return;
    const peer = found.require('dcmjs-dimse') as Package;
    peer.log.setLevel('silent');
    const received: Record<string, unknown>[] = [];
    const viewerPort = await listen(scene, peer, received);
    const delivered: Record<string, unknown>[] = [];
    const pacsPort = await listen(scene, peer, delivered);
    const gateway = await openGatewayFor(scene, {
      settings: 'dimse: { viewers: [JSVIEWER] }\n',
      nodes: `nodes:
  viewer: { receives: pseudonyms, dimse: { aeTitle: JSVIEWER, host: 127.0.0.1, port: ${viewerPort} } }
  pacs: { dimse: { aeTitle: JSPACS, host: 127.0.0.1, port: ${pacsPort} }, deliverBy: dimse, proof: status }
`,
      processing: '\n  - { name: quieter, when: { modality: CT }, run: ct-denoise, outputs: [image], deliver: [pacs] }',
    });
    const { files, studyInstanceUID: originalStudyUID } = sentStudy(scene, { slices: SLICES, size: SIZE });
    const send = (requests: readonly Request[], onStore?: (request: Request) => void): Promise<Response[]> =>
      exchange(peer, gateway.dimsePort, requests, onStore);

    await scene.check('SCU: C-ECHO', async () => {
      const [answer] = await send([new peer.requests.CEchoRequest()]);
      assert.equal(answer?.getStatus(), SUCCESS);
    });
    await scene.check('SCU: C-STORE of a series over one association', async () => {
      const answers = await send(files.map((file) => new peer.requests.CStoreRequest(file)));
      assert.deepEqual(
        answers.map((one) => one.getStatus()),
        files.map(() => SUCCESS),
      );
      assert.equal((await search(gateway.base, 'instances')).length, SLICES);
    });
    const [study] = await search(gateway.base, 'studies');
    const studyUID = valueOf(study, '0020000D');
    const find = async (
      level: keyof Package['requests']['CFindRequest'],
      keys: object,
    ): Promise<Record<string, unknown>[]> => {
      const answers = await send([peer.requests.CFindRequest[level](keys)]);
      assert.equal(answers.at(-1)?.getStatus(), SUCCESS);
      return answers.filter((one) => one.getStatus() === PENDING).map((one) => one.getDataset().getElements());
    };
    await scene.check('SCU: C-FIND at study, series and image level', async () => {
      const studies = await find('createStudyFindRequest', {
        StudyInstanceUID: '',
        PatientName: '*',
        ModalitiesInStudy: 'CT',
      });
      assert.deepEqual(
        studies.map((one) => one['StudyInstanceUID']),
        [studyUID],
      );
      const series = await find('createSeriesFindRequest', { StudyInstanceUID: studyUID, SeriesInstanceUID: '' });
      assert.equal(series.length, 1);
      const seriesUID = series[0]?.['SeriesInstanceUID'];
      const images = await find('createImageFindRequest', {
        StudyInstanceUID: studyUID,
        SeriesInstanceUID: seriesUID,
        SOPInstanceUID: '',
      });
      assert.equal(new Set(images.map((one) => one['SOPInstanceUID'])).size, SLICES);
    });
    await scene.check('SCU: C-FIND of what there is not', async () => {
      assert.deepEqual(await find('createStudyFindRequest', { StudyInstanceUID: '', PatientID: PATIENT.id }), []);
    });
    await scene.check('SCU: C-GET brings the study, SCP role', async () => {
      const got: unknown[] = [];
      const answers = await send([peer.requests.CGetRequest.createStudyGetRequest(studyUID)], (request) => {
        got.push(request.getDataset().getElements()['SOPInstanceUID']);
      });
      assert.equal(answers.at(-1)?.getStatus(), SUCCESS);
      assert.ok(new Set(got).size >= SLICES, `${got.length} objects`);
    });
    await scene.check('SCP: C-MOVE makes us send the study to it', async () => {
      const answers = await send([peer.requests.CMoveRequest.createStudyMoveRequest('JSVIEWER', studyUID)]);
      assert.equal(answers.at(-1)?.getStatus(), SUCCESS);
      assert.ok(received.length >= SLICES, `${received.length} objects`);
      for (const { StudyInstanceUID, PatientID } of received) {
        assert.equal(StudyInstanceUID, studyUID);
        assert.notEqual(PatientID, PATIENT.id);
      }
    });
    await scene.check('SCP: a derived series is delivered to it, under the true patient and study', async () => {
      await until('the derived series', () => hasEnded(gateway.base), 240_000, 250);
      assert.equal(delivered.length, SLICES);
      for (const { StudyInstanceUID, PatientID, Modality } of delivered) {
        assert.deepEqual([StudyInstanceUID, PatientID, Modality], [originalStudyUID, PATIENT.id, 'CT']);
      }
    });
  },
};

/** Whether derivation and delivery have. @throws Error with the reason of one that will not */
async function hasEnded(base: string): Promise<boolean> {
  const reply = await fetch(`${base}/api/work-items`);
  const items = (await reply.json()) as { kind: string; state: string; lastError?: string }[];
  const faults = items.flatMap(({ kind, lastError }) => (lastError === undefined ? [] : [`${kind}: ${lastError}`]));
  assert.deepEqual(faults, []);
  return items.length >= 2 && items.every(({ state }) => state === 'COMPLETED');
}

/** Every answer, once the association has ended. */
function exchange(
  peer: Package,
  port: number,
  requests: readonly Request[],
  onStore?: (request: Request) => void,
): Promise<Response[]> {
  return new Promise((resolve, reject) => {
    const client = new peer.Client();
    const answers: Response[] = [];
    for (const request of requests) {
      request.on('response', (response) => answers.push(response));
      client.addRequest(request);
    }
    const taken = (request: Request, callback: (response: Response) => void): void => {
      onStore?.(request);
      const response = peer.responses.CStoreResponse.fromRequest(request);
      response.setStatus(SUCCESS);
      callback(response);
    };
    client.on('cStoreRequest', taken as (...given: never[]) => void);
    client.on('networkError', ((error: Error) => reject(error)) as (...given: never[]) => void);
    client.on('associationRejected', () => reject(new Error('the association was rejected')));
    client.on('closed', () => resolve(answers));
    client.send('127.0.0.1', port, 'JSVIEWER', 'ISTHMUS');
  });
}

/** The package's own SCP on loopback, taking every object in any uncompressed syntax. */
async function listen(scene: Scene, peer: Package, received: Record<string, unknown>[]): Promise<number> {
  const { Accept, RejectTransferSyntaxesNotSupported } = peer.constants.PresentationContextResult;
  class Receiver extends peer.Scp {
    associationRequested(association: Association): void {
      for (const { id } of association.getPresentationContexts()) {
        const context = association.getPresentationContext(id);
        const uncompressed = context.getTransferSyntaxUids().find((uid) => /^1\.2\.840\.10008\.1\.2(\.1)?$/.test(uid));
        if (uncompressed === undefined) context.setResult(RejectTransferSyntaxesNotSupported);
        else context.setResult(Accept, uncompressed);
      }
      this.sendAssociationAccept();
    }
    cEchoRequest(request: Request, callback: (response: Response) => void): void {
      const response = peer.responses.CEchoResponse.fromRequest(request);
      response.setStatus(SUCCESS);
      callback(response);
    }
    cStoreRequest(request: Request, callback: (response: Response) => void): void {
      received.push(request.getDataset().getElements());
      const response = peer.responses.CStoreResponse.fromRequest(request);
      response.setStatus(SUCCESS);
      callback(response);
    }
    associationReleaseRequested(): void {
      this.sendAssociationReleaseResponse();
    }
  }
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    new Receiver(socket, {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  scene.after(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}
