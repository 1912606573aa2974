/** Preamble and file meta information made from nothing (PS3.10 7.1): none of a sender's remains. */
import { IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME } from './implementation.ts';
import { openSink, sinkBytes, writeBytes, writeElement, writeText, type Sink } from './writer.ts';

export interface FileMeta {
  readonly sopClassUID: string;
  readonly sopInstanceUID: string;
  readonly transferSyntaxUID: string;
}

export function writeFileMeta(sink: Sink, meta: FileMeta): void {
  const group = openSink(256);
  writeElement(group, 0x00020001, 'OB', Buffer.from([0, 1]));
  writeText(group, 0x00020002, 'UI', meta.sopClassUID);
  writeText(group, 0x00020003, 'UI', meta.sopInstanceUID);
  writeText(group, 0x00020010, 'UI', meta.transferSyntaxUID);
  writeText(group, 0x00020012, 'UI', IMPLEMENTATION_CLASS_UID);
  writeText(group, 0x00020013, 'SH', IMPLEMENTATION_VERSION_NAME);
  const start = Buffer.alloc(132);
  start.write('DICM', 128, 'latin1');
  writeBytes(sink, start);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(group.length);
  writeElement(sink, 0x00020000, 'UL', length);
  writeBytes(sink, sinkBytes(group));
}
