/**
 * Bytes that have to be read again and are too many to keep: in memory up to a bound, beyond it in a file that is encrypted with a key
 * that only this process has, and that has no name any more as soon as it is open. What names a person never lies on disk in the clear.
 */
import { createCipheriv, createDecipheriv, randomBytes, type Cipheriv } from 'node:crypto';
import { closeSync, mkdirSync, openSync, read, unlinkSync, write } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface Spool {
  readonly lengthBytes: number;
  write(bytes: Buffer): Promise<void>;
  /** From its first byte on; may be read again. */
  read(): AsyncGenerator<Buffer>;
  /** Gives memory and disk back; happens by itself when nobody holds the spool any more. */
  discard(): void;
}

export interface SpoolOptions {
  /** For the file; it is made when it is missing. */
  readonly folder: string;
  /** Beyond this the file is used. */
  readonly memoryBytes: number;
}

const READ_BYTES = 2 ** 20;

const writeAt = promisify(write);
const readAt = promisify(read);
const forgotten = new FinalizationRegistry<{ fd: number | undefined }>(close);

function close(file: { fd: number | undefined }): void {
  const { fd } = file;
  file.fd = undefined;
  if (fd !== undefined) closeSync(fd);
}

export function openSpool({ folder, memoryBytes }: SpoolOptions): Spool {
  let kept: Buffer[] = [];
  let keptBytes = 0;
  let lengthBytes = 0;
  let cipher: Cipheriv | undefined;
  const file: { fd: number | undefined } = { fd: undefined };
  // Drawn when there is a file: most objects never need one.
  let key = Buffer.alloc(0);
  let counter = Buffer.alloc(0);

  const toFile = async (bytes: Buffer): Promise<void> => {
    if (file.fd === undefined || cipher === undefined) {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const name = join(folder, `${randomBytes(12).toString('hex')}.spool`);
      file.fd = openSync(name, 'wx+', 0o600);
      unlinkSync(name);
      key = randomBytes(32);
      counter = randomBytes(16);
      cipher = createCipheriv('aes-256-ctr', key, counter);
    }
    const sealed = cipher.update(bytes);
    for (let at = 0; at < sealed.length;) at += (await writeAt(file.fd, sealed, at)).bytesWritten;
  };

  const spool: Spool = {
    get lengthBytes() {
      return lengthBytes;
    },
    async write(bytes) {
      lengthBytes += bytes.length;
      if (file.fd === undefined && keptBytes + bytes.length <= memoryBytes) {
        kept.push(bytes);
        keptBytes += bytes.length;
        return;
      }
      const before = kept;
      kept = [];
      for (const chunk of before) await toFile(chunk);
      await toFile(bytes);
    },
    async *read() {
      if (file.fd === undefined) {
        yield* kept;
        return;
      }
      const decipher = createDecipheriv('aes-256-ctr', key, counter);
      for (let at = 0; at < lengthBytes;) {
        const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, lengthBytes - at));
        const { bytesRead } = await readAt(file.fd, buffer, 0, buffer.length, at);
        if (bytesRead === 0) throw new Error('a spool file is shorter than what was written');
        at += bytesRead;
        yield decipher.update(buffer.subarray(0, bytesRead));
      }
    },
    discard() {
      kept = [];
      close(file);
    },
  };
  forgotten.register(spool, file);
  return spool;
}
