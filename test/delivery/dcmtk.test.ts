/** C-STORE into dcmtk's storescp, plain and over TLS where each side shows a certificate. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { asciiValue, textValue } from '../../src/dicom/data-set.ts';
import { readObject } from '../../src/dicom/part10.ts';
import { claimWork } from '../../src/workitems.ts';
import { deliver, scheduleDelivery } from '../../src/workflow/deliver.ts';
import { scratch, startStorescp, withoutDcmtk } from '../dimse/peers.ts';
import { ctStudy } from '../phantom/studies.ts';
import { PROJECT, deriveSeries, openInFolder, takeStudy } from '../workflow/opened.ts';

const PATIENT = { name: 'Müßter^Jürgen', id: 'KH-9', birthDate: '19700101', sex: 'M' } as const;

async function deliverTo(t: TestContext, dimse: string, gatewayYaml = ''): Promise<string> {
  const opened = await openInFolder(t, {
    gateway: gatewayYaml,
    nodes: `nodes:\n  pacs:\n    dimse: { aeTitle: STORESCP, host: 127.0.0.1, ${dimse} }\n    deliverBy: dimse\n    proof: status\n`,
  });
  const { gateway } = opened;
  const { objects, studyInstanceUID } = ctStudy({ patient: PATIENT, slices: 5, size: 8 });
  const study = await takeStudy(opened, objects);
  const series = await deriveSeries(opened, study);
  scheduleDelivery(gateway, study, 'key', { project: PROJECT, node: 'pacs', seriesInstanceUIDs: [series] });
  const item = claimWork(gateway.workItems, 'deliver', 60_000);
  assert.ok(item);
  const delivered = await deliver(gateway, item);
  assert.ok('objects' in delivered);
  assert.equal(delivered.objects, 5);
  return studyInstanceUID;
}

async function assertArrived(folder: string, study: string): Promise<void> {
  const files = globSync('*', { cwd: folder });
  assert.equal(files.length, 5);
  for (const file of files) {
    const { dataSet } = (await readObject(readFileSync(join(folder, file)))).head;
    assert.equal(asciiValue(dataSet, 0x0020000d), study);
    assert.equal(textValue(dataSet, 0x00100020), 'KH-9');
    assert.equal(textValue(dataSet, 0x00100010), PATIENT.name);
  }
}

test('storescp gets a derived series under its patient and study', { skip: withoutDcmtk() }, async (t) => {
  const folder = scratch(t);
  const port = await startStorescp(t, folder);
  await assertArrived(folder, await deliverTo(t, `port: ${port}`));
});

const noTls = withoutDcmtk() || (spawnSync('openssl', ['version']).status === 0 ? false : 'openssl is not installed');

test(
  'over TLS to a storescp that asks for our certificate; a node we have no reason to believe gets nothing',
  { skip: noTls },
  async (t) => {
    const certificates = scratch(t);
    const [key, cert] = [join(certificates, 'key.pem'), join(certificates, 'cert.pem')];
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...subject, '-keyout', key, '-out', cert],
      { stdio: 'ignore' },
    );
    const folder = scratch(t);
    const port = await startStorescp(t, folder, ['+tls', key, cert, '+cf', cert, '-rc']);
    const own = `dimse: { tls: { key: ${key}, certificate: ${cert}, authorities: ${cert} } }\n`;
    await assert.rejects(
      deliverTo(t, `port: ${port}, tls: true`, own),
      /DeliveryFailed|certificate|TLS|reached|association/i,
    );
    assert.equal(globSync('*', { cwd: folder }).length, 0);
    await assertArrived(folder, await deliverTo(t, `port: ${port}, tls: true, authorities: ${cert}`, own));
  },
);
