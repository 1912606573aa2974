/**
 * The npm package dicomweb-client (dcmjs-org) in Node, on an XMLHttpRequest of another package: what its own eleven test cases ask for, said
 * anew for this gateway; then in Chromium, on a page of another origin.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { browserMissing, openPage } from './browser.ts';
import { openGatewayFor, pixelsOf, sentStudy, valueOf, type DicomJson } from './hospital.ts';
import { ctStudy } from '../../phantom/studies.ts';
import type { Scene, Suite } from './suite.ts';

const SIZE = 96;
const SLICES = 4;

type Hook = (request: unknown, metadata: unknown) => unknown;

/** What is used of the package. */
interface Client {
  searchForStudies(options?: object): Promise<DicomJson[]>;
  searchForSeries(options: object): Promise<DicomJson[]>;
  searchForInstances(options: object): Promise<DicomJson[]>;
  storeInstances(options: { datasets: ArrayBuffer[] }): Promise<unknown>;
  retrieveInstanceFrames(options: object): Promise<(ArrayBuffer & { contentType?: string })[]>;
  retrieveInstance(options: object): Promise<ArrayBuffer>;
  retrieveSeries(options: object): Promise<ArrayBuffer[]>;
  retrieveStudy(options: object): Promise<ArrayBuffer[]>;
  retrieveSeriesMetadata(options: object): Promise<DicomJson[]>;
  retrieveInstanceMetadata(options: object): Promise<DicomJson[]>;
  retrieveBulkData(options: object): Promise<ArrayBuffer[]>;
  /** One part of one. */
  retrieveInstanceRendered(options: object): Promise<ArrayBuffer[]>;
}
interface Package {
  readonly api: {
    readonly DICOMwebClient: new (options: { url: string; requestHooks?: Hook[]; verbose?: boolean }) => Client;
  };
}

export const javascriptSuite: Suite = {
  name: 'javascript',
  proves: "the npm package dicomweb-client's own eleven cases, in Node",
  missing(tools) {
    const found = tools.npm();
    return 'missing' in found ? found.missing : undefined;
  },
  async run(scene) {
    const found = scene.tools.npm();
    if ('missing' in found) return;
    Object.assign(globalThis, { XMLHttpRequest: found.require('xhr2') as unknown });
    const { api } = found.require('dicomweb-client') as Package;
    const page = await servePage(scene, readFileSync(found.require.resolve('dicomweb-client')));
    const gateway = await openGatewayFor(scene, { settings: `http: { allowedOrigins: ["${page.origin}"] }\n` });
    const url = `${gateway.base}/dicom-web`;
    const client = new api.DICOMwebClient({ url, verbose: false });
    const { objects } = sentStudy(scene, { slices: SLICES, size: SIZE });
    const bytesOf = (object: Buffer): ArrayBuffer => new Uint8Array(object).buffer;

    await scene.check('the constructor has its name', () => {
      assert.equal(client.constructor.name, 'DICOMwebClient');
    });
    await scene.check('an empty archive: zero studies', async () => {
      assert.deepEqual(await client.searchForStudies({}), []);
    });
    await scene.check('one instance is stored, one study found', async () => {
      await client.storeInstances({ datasets: [bytesOf(objects[0] ?? Buffer.alloc(0))] });
      assert.equal((await client.searchForStudies()).length, 1);
    });
    await scene.check('three more at once, of other studies: four studies', async () => {
      const others = ['KH-1', 'KH-2', 'KH-3'].map(
        (id) =>
          ctStudy({ patient: { name: 'Muster^Max', id, birthDate: '19700101', sex: 'M' }, slices: 1, size: SIZE })
            .objects[0],
      );
      await Promise.all(
        others.map((object) => client.storeInstances({ datasets: [bytesOf(object ?? Buffer.alloc(0))] })),
      );
      assert.equal((await client.searchForStudies()).length, 4);
    });
    await client.storeInstances({ datasets: objects.slice(1).map(bytesOf) });
    const study = (await client.searchForStudies()).find((one) => valueOf(one, '00201208') === String(SLICES));
    const studyInstanceUID = valueOf(study, '0020000D');
    const [series] = await client.searchForSeries({ studyInstanceUID });
    const seriesInstanceUID = valueOf(series, '0020000E');
    const [instance] = await client.searchForInstances({ studyInstanceUID, seriesInstanceUID });
    const one = { studyInstanceUID, seriesInstanceUID, sopInstanceUID: valueOf(instance, '00080018') };
    const sent = pixelsOf(objects[Number(valueOf(instance, '00200013')) - 1] ?? Buffer.alloc(0), SIZE);

    await scene.check('a single frame, as octets, with the bytes that were sent', async () => {
      const frames = await client.retrieveInstanceFrames({ ...one, frameNumbers: '1' });
      assert.equal(frames.length, 1);
      assert.ok(Buffer.from(frames[0] ?? new ArrayBuffer()).equals(sent));
      assert.equal(frames[0]?.contentType, 'application/octet-stream');
    });
    await scene.check('a single instance, an array buffer with a whole object', async () => {
      const object = await client.retrieveInstance(one);
      assert.ok(object instanceof ArrayBuffer);
      assert.equal(Buffer.from(object).toString('latin1', 128, 132), 'DICM');
      assert.ok(Buffer.from(object).subarray(-sent.length).equals(sent));
    });
    await scene.check('a series, as an array of objects', async () => {
      const all = await client.retrieveSeries({ studyInstanceUID, seriesInstanceUID });
      assert.equal(all.length, SLICES);
      assert.ok(all.every((object) => Buffer.from(object).toString('latin1', 128, 132) === 'DICM'));
    });
    await scene.check('a study, as an array of objects', async () => {
      assert.equal((await client.retrieveStudy({ studyInstanceUID })).length, SLICES);
    });
    await scene.check('bulk data, by the URI that the metadata name', async () => {
      const metadata = await client.retrieveSeriesMetadata({ studyInstanceUID, seriesInstanceUID });
      assert.equal(metadata.length, SLICES);
      const [first] = metadata;
      const bulk = await client.retrieveBulkData({ BulkDataURI: first?.['7FE00010']?.BulkDataURI });
      assert.equal(bulk.length, 1);
      const slice = objects[Number(valueOf(first, '00200013')) - 1] ?? Buffer.alloc(0);
      assert.ok(Buffer.from(bulk[0] ?? new ArrayBuffer()).equals(pixelsOf(slice, SIZE)));
    });
    const calls: unknown[] = [];
    const hook: Hook = (request, metadata) => {
      calls.push(metadata);
      return request;
    };
    await scene.check('hooks that are none are left aside, the answer comes', async () => {
      const warn = console.warn;
      console.warn = () => {};
      try {
        const hooked = new api.DICOMwebClient({ url, requestHooks: [hook, ((request: unknown) => request) as Hook] });
        assert.equal(valueOf((await hooked.retrieveInstanceMetadata(one))[0], '00080018'), one.sopInstanceUID);
      } finally {
        console.warn = warn;
      }
      assert.equal(calls.length, 0);
    });
    await scene.check('hooks are told method, URL and headers', async () => {
      const hooked = new api.DICOMwebClient({ url, requestHooks: [hook, hook] });
      await hooked.retrieveInstanceMetadata(one);
      const path = `studies/${studyInstanceUID}/series/${seriesInstanceUID}/instances/${one.sopInstanceUID}/metadata`;
      const told = { method: 'get', url: `${url}/${path}`, headers: { Accept: 'application/dicom+json' } };
      assert.deepEqual(calls, [told, told]);
    });
    await scene.check(
      'beyond its own cases: several frames types, rendered, paging, and a refusal that is told',
      async () => {
        const mediaTypes = [{ mediaType: 'image/jpeg', transferSyntaxUID: '1.2.840.10008.1.2.4.70' }];
        const [jpeg] = await client.retrieveInstanceFrames({ ...one, frameNumbers: [1], mediaTypes });
        assert.equal(Buffer.from(jpeg ?? new ArrayBuffer()).readUInt16BE(0), 0xffd8);
        const rendered = await client.retrieveInstanceRendered({ ...one, queryParams: { window: '40,400,linear' } });
        assert.equal(Buffer.from(rendered[0] ?? new ArrayBuffer()).readUInt16BE(0), 0xffd8);
        const page = await client.searchForInstances({ studyInstanceUID, queryParams: { limit: 2, offset: 1 } });
        assert.equal(page.length, 2);
        await assert.rejects(client.searchForStudies({ queryParams: { NoSuchAttribute: 'x' } }), { status: 400 });
      },
    );
    await inBrowser(scene, page, url, one, sent);
  },
};

/** The same package in Chromium, on a page of another origin: preflights, headers that a page may read, multipart both ways. */
async function inBrowser(
  scene: Scene,
  served: ServedPage,
  url: string,
  one: { studyInstanceUID: string; seriesInstanceUID: string; sopInstanceUID: string },
  sent: Buffer,
): Promise<void> {
  const missing = browserMissing(scene.tools);
  if (missing !== undefined) {
    scene.notRun('in Chromium, from another origin', missing);
    return;
  }
  const page = await openPage(scene);
  await page.goto(`${served.origin}/`);
  const client = `new DICOMwebClient.api.DICOMwebClient({ url: ${JSON.stringify(url)} })`;
  const ask = <T>(script: string): Promise<T> =>
    page.evaluate<T>(`(async () => { const client = ${client}; ${script} })()`);
  await scene.check('in Chromium, from another origin: search and metadata', async () => {
    const found = await ask<string[]>(
      `return (await client.searchForStudies()).map((study) => study['0020000D'].Value[0]);`,
    );
    assert.ok(found.includes(one.studyInstanceUID));
    const uid = await ask<string>(
      `return (await client.retrieveInstanceMetadata(${JSON.stringify(one)}))[0]['00080018'].Value[0];`,
    );
    assert.equal(uid, one.sopInstanceUID);
  });
  await scene.check('in Chromium, from another origin: a frame has the bytes that were sent', async () => {
    const digest = await ask<string>(`
      const [frame] = await client.retrieveInstanceFrames({ ...${JSON.stringify(one)}, frameNumbers: [1] });
      const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', frame));
      return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');`);
    assert.equal(digest, createHash('sha256').update(sent).digest('hex'));
  });
  await scene.check('in Chromium, from another origin: an object is stored', async () => {
    const before = await ask<number>(`return (await client.searchForStudies()).length;`);
    const patient = { name: 'Browser^Bert', id: 'KH-9', birthDate: '19800101', sex: 'M' } as const;
    served.object = ctStudy({ patient, slices: 1, size: SIZE }).objects[0] ?? served.object;
    await ask(`await client.storeInstances({ datasets: [await (await fetch('/object')).arrayBuffer()] });`);
    assert.equal(await ask<number>(`return (await client.searchForStudies()).length;`), before + 1);
  });
}

interface ServedPage {
  readonly origin: string;
  /** What the page finds at /object. */
  object: Buffer;
}

async function servePage(scene: Scene, script: Buffer): Promise<ServedPage> {
  const page = { origin: '', object: Buffer.alloc(0) };
  const files: Readonly<Record<string, () => readonly [string, string | Buffer]>> = {
    '/': () => ['text/html', '<!doctype html><title>a page elsewhere</title><script src="/client.js"></script>'],
    '/client.js': () => ['text/javascript', script],
    '/object': () => ['application/dicom', page.object],
  };
  const server = createServer((request, response) => {
    const [type, body] = files[request.url ?? '']?.() ?? ['text/plain', ''];
    response.setHeader('Content-Type', type);
    response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  scene.after(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  page.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return page;
}
