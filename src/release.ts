/** Memory given back by hand: what lies outside its own heap V8 lets go of only after tens of megabytes. */

/** Nobody may look at `bytes` any more, nor at what lies in the same memory; in Node's pool, where others' bytes lie too, it stays. */
export function release(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (buffer instanceof ArrayBuffer && !buffer.detached && buffer.byteLength !== Buffer.poolSize) buffer.transfer(0);
}
