/** Reading and writing multipart/related: DICOMWEB.md trap 16 and section 5. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { multipartPieces, readMultipart, type OutgoingPart } from '../../src/dicomweb/multipart.ts';
import { Refusal } from '../../src/dicom/refusal.ts';

async function* chunked(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  let at = 0;
  for (let index = 0; at < bytes.length; index++) {
    const size = sizes[index % sizes.length] ?? bytes.length;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

async function bytesOf(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

interface ReadPart {
  readonly headers: Record<string, string>;
  readonly body: string;
}

async function readAll(bytes: Buffer, boundary: string, sizes: readonly number[] = [65536]): Promise<ReadPart[]> {
  const parts: ReadPart[] = [];
  for await (const part of readMultipart(chunked(bytes, sizes), boundary)) {
    parts.push({ headers: Object.fromEntries(part.headers), body: (await bytesOf(part.body)).toString('latin1') });
  }
  return parts;
}

const refusalWith = (reason: string, sentence: RegExp) => (error: unknown) =>
  error instanceof Refusal && error.reason === reason && sentence.test(error.message);

async function* written(boundary: string, parts: readonly OutgoingPart[]): AsyncGenerator<Buffer> {
  for await (const pieces of multipartPieces(boundary, parts)) yield* pieces.map((piece) => Buffer.from(piece));
}

test('a body with and without a leading CRLF, with a preamble and an epilogue gives the same parts', async () => {
  const core = '--b\r\nContent-Type: application/dicom\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--';
  const expected = [
    { headers: { 'content-type': 'application/dicom' }, body: 'one' },
    { headers: {}, body: 'two' },
  ];
  for (const text of [core, `\r\n${core}`, `preamble\r\n${core}`, `${core}\r\nepilogue`])
    assert.deepEqual(await readAll(Buffer.from(text), 'b'), expected);
});

test('PROP-e: multipart parsing is independent of where the chunks end (property)', async () => {
  const piece = fc.constantFrom(
    '\r\n',
    '--',
    '--b',
    '\r\n--b',
    '\r\n--bX',
    '\r\n--',
    'a',
    '\r',
    '\n',
    '-',
    '\0',
    '\xff',
  );
  const content = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(''));
  await fc.assert(
    fc.asyncProperty(
      fc.array(content, { minLength: 1, maxLength: 4 }),
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 6 }),
      async (contents, sizes) => {
        const boundary = 'boundary-that-is-no-part-of-the-content';
        const text = contents.map((body) => `\r\n--${boundary}\r\nContent-Type: text/plain\r\n\r\n${body}`).join('');
        const bytes = Buffer.from(`${text}\r\n--${boundary}--\r\n`, 'latin1');
        const parts = await readAll(bytes, boundary, sizes);
        assert.deepEqual(
          parts.map(({ body }) => body),
          contents,
        );
      },
    ),
    { numRuns: 300 },
  );
});

test('content that begins like the boundary stays content', async () => {
  const text = '--b\r\n\r\nx\r\n--bc\r\ny\r\n--b -\r\nz\r\n--b  \r\n\r\nsecond\r\n--b--';
  for (const size of [1, 2, 3, 1000]) {
    const parts = await readAll(Buffer.from(text), 'b', [size]);
    assert.deepEqual(
      parts.map(({ body }) => body),
      ['x\r\n--bc\r\ny\r\n--b -\r\nz', 'second'],
    );
  }
});

test('a missing final boundary is refused from within the last part, after the ones before it', async () => {
  const bytes = Buffer.from('--b\r\n\r\none\r\n--b\r\n\r\ntwo');
  const seen: string[] = [];
  await assert.rejects(
    async () => {
      for await (const part of readMultipart(chunked(bytes, [5]), 'b'))
        seen.push((await bytesOf(part.body)).toString());
    },
    refusalWith('CannotUnderstand', /closing boundary/),
  );
  assert.deepEqual(seen, ['one']);
});

test('every truncation of a body is refused', async () => {
  const whole = Buffer.from('\r\n--b\r\nContent-Type: application/dicom\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--');
  for (let length = 0; length < whole.length; length++) {
    await assert.rejects(
      readAll(whole.subarray(0, length), 'b', [7]),
      refusalWith('CannotUnderstand', /multipart/),
      `${length} bytes`,
    );
  }
});

test('a part that nobody reads, or only begins to, is passed over', async () => {
  const bytes = Buffer.from(
    `--b\r\n\r\n${'1'.repeat(100)}\r\n--b\r\n\r\n${'2'.repeat(100)}\r\n--b\r\n\r\nthree\r\n--b--`,
  );
  let count = 0;
  let last = '';
  for await (const part of readMultipart(chunked(bytes, [10]), 'b')) {
    count++;
    if (count === 2) for await (const _first of part.body) break;
    if (count === 3) last = (await bytesOf(part.body)).toString();
  }
  assert.deepEqual([count, last], [3, 'three']);
});

test('headers of a part and the number of parts are bounded', async () => {
  const long = Buffer.from(`--b\r\nX: ${'y'.repeat(20_000)}\r\n\r\none\r\n--b--`);
  await assert.rejects(readAll(long, 'b', [100]), refusalWith('TooLarge', /headers/));
  const endless = Buffer.from(`--b\r\nX: ${'y'.repeat(200_000)}`);
  await assert.rejects(readAll(endless, 'b', [1000]), refusalWith('TooLarge', /headers/));
  const many = Buffer.from(`${'--b\r\n\r\n\r\n'.repeat(11)}--b--`);
  await assert.rejects(
    async () => {
      for await (const _part of readMultipart(chunked(many, [64]), 'b', { maxParts: 10 }));
    },
    refusalWith('TooLarge', /10 parts/),
  );
  await assert.rejects(readAll(Buffer.alloc(100_000), 'b', [4096]), refusalWith('CannotUnderstand', /no boundary/));
});

test('what is written has no preamble and no epilogue, and reads back the same', async () => {
  const part = (text: string): OutgoingPart => ({
    contentType: 'application/dicom; transfer-syntax=1.2.840.10008.1.2.1',
    contentLocation: `http://127.0.0.1/${text}`,
    lengthBytes: text.length,
    body: chunked(Buffer.from(text), [2]),
  });
  const bytes = await bytesOf(written('b0', [part('one'), part('three')]));
  assert.equal(
    bytes.toString(),
    '--b0\r\nContent-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\nContent-Location: http://127.0.0.1/one\r\n' +
      'Content-Length: 3\r\n\r\none\r\n' +
      '--b0\r\nContent-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\nContent-Location: http://127.0.0.1/three\r\n' +
      'Content-Length: 5\r\n\r\nthree\r\n--b0--',
  );
  assert.deepEqual(
    (await readAll(bytes, 'b0', [3])).map(({ body }) => body),
    ['one', 'three'],
  );
});

test('a part that is shorter than it said fails instead of being sent as whole', async () => {
  const short: OutgoingPart = {
    contentType: 'application/dicom',
    contentLocation: '/',
    lengthBytes: 4,
    body: chunked(Buffer.from('abc'), [3]),
  };
  await assert.rejects(bytesOf(written('b', [short])), /4 bytes came as 3/);
});
