/** Numbers that several threads see. */

/** Zeros, or the numbers given; those that are shared already stay where they are. */
export function shared(from: number | Float32Array): Float32Array {
  if (typeof from !== 'number' && from.buffer instanceof SharedArrayBuffer) return from;
  const result = new Float32Array(new SharedArrayBuffer(4 * (typeof from === 'number' ? from : from.length)));
  if (typeof from !== 'number') result.set(from);
  return result;
}

export function sharedDoubles(length: number): Float64Array {
  return new Float64Array(new SharedArrayBuffer(8 * length));
}
