/**
 * The floor: what a bare Node server needs for the same bytes. POST: each request's body is appended to one file and synchronised, then
 * 200. GET /LENGTH: that many bytes of a file, a MiB at a time. No DICOM, no index, no headers but Node's own.
 * A process of its own: node floor.ts FOLDER; tells its port to its parent.
 */
import { once } from 'node:events';
import { open, type FileHandle } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

const MIB = 2 ** 20;
/** More than the longest answer of the rows. */
const READABLE_MIB = 128;

const folder = process.argv[2] ?? '.';
const file = await open(join(folder, 'floor.bin'), 'a');
let readable: Promise<FileHandle> | undefined;

async function makeReadable(): Promise<FileHandle> {
  const handle = await open(join(folder, 'read.bin'), 'w+');
  for (let at = 0; at < READABLE_MIB; at++) await handle.write(Buffer.alloc(MIB, at), 0, MIB, at * MIB);
  return handle;
}

async function give(lengthBytes: number, response: ServerResponse): Promise<void> {
  readable ??= makeReadable();
  const handle = await readable;
  response.setHeader('Content-Length', lengthBytes);
  for (let at = 0; at < lengthBytes; at += MIB) {
    const chunk = Buffer.allocUnsafe(Math.min(MIB, lengthBytes - at));
    await handle.read(chunk, 0, chunk.length, at);
    if (!response.write(chunk)) await once(response, 'drain');
  }
  response.end();
}

const server = createServer((request, response) => {
  if (request.method === 'GET') {
    give(Number(request.url?.slice(1)), response).catch(() => response.destroy());
    return;
  }
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
