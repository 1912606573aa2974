/** A data set written anew in Implicit VR Little Endian (PS3.5 A.1), which every peer understands; sequences get defined lengths. */
import type { DataElement, DataSet } from './data-set.ts';
import { littleEndianValue } from './writer.ts';

const ITEM = 0xfffee000;

/** Group lengths are left out (PS3.5 7.2); encapsulated fragments inside an item cannot be written so and are left out too (PS3.5 A.4). */
export function implicitDataSet(dataSet: DataSet): Buffer {
  return Buffer.concat(dataSet.elements.flatMap((element) => implicitElement(dataSet, element)));
}

/** The header of an element in Implicit VR Little Endian. */
export function implicitHeader(tag: number, lengthBytes: number): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16LE(tag >>> 16, 0);
  header.writeUInt16LE(tag & 0xffff, 2);
  header.writeUInt32LE(lengthBytes, 4);
  return header;
}

function implicitElement(dataSet: DataSet, element: DataElement): Buffer[] {
  const { tag, items, fragments } = element;
  if ((tag & 0xffff) === 0 || fragments !== undefined) return [];
  if (items !== undefined) {
    const bodies = items.map(implicitDataSet);
    const lengthBytes = bodies.reduce((sum, { length }) => sum + 8 + length, 0);
    return [implicitHeader(tag, lengthBytes), ...bodies.flatMap((body) => [implicitHeader(ITEM, body.length), body])];
  }
  const value = littleEndianValue(dataSet, element);
  const odd = value.length & 1;
  return [implicitHeader(tag, value.length + odd), value, ...(odd === 0 ? [] : [Buffer.alloc(1)])];
}
