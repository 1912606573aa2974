/**
 * The floor: what a bare Node server needs for the same bytes: each request's body is appended to one file and synchronised, then 200.
 * No DICOM, no index. A process of its own: node floor.ts FOLDER; tells its port to its parent.
 */
import { open } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

const file = await open(join(process.argv[2] ?? '.', 'floor.bin'), 'a');
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    file
      .writev(chunks)
      .then(() => file.datasync())
      .then(
        () => response.end('{}'),
        () => response.destroy(),
      );
  });
});
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.on('disconnect', () => process.exit(0));
