/** Chunks below this are gathered: a peer that sends single bytes must not cost us an object for each. */
const SMALL_BYTES = 512;
const GATHER_BYTES = 8192;

/** Bytes as they came off a socket, taken off in the pieces a protocol needs; copies only where a piece spans two chunks. */
export class ByteQueue {
  readonly #chunks: Buffer[] = [];
  #lengthBytes = 0;
  /** Where small chunks are gathered; the last entry of #chunks ends at #gathered while #gathering is set. */
  #gather = Buffer.alloc(0);
  #gathered = 0;
  #gathering = false;

  get lengthBytes(): number {
    return this.#lengthBytes;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#lengthBytes += chunk.length;
    if (chunk.length < SMALL_BYTES) {
      this.#pushSmall(chunk);
    } else {
      this.#chunks.push(chunk);
      this.#gathering = false;
    }
  }

  clear(): void {
    this.#chunks.length = 0;
    this.#lengthBytes = 0;
  }

  /** The next bytes without taking them; `lengthBytes` at most what is there. */
  peek(lengthBytes: number): Buffer {
    const first = this.#chunks[0];
    if (first !== undefined && first.length >= lengthBytes) return first.subarray(0, lengthBytes);
    const copy = Buffer.allocUnsafe(lengthBytes);
    let filled = 0;
    for (const chunk of this.#chunks) {
      if (filled === lengthBytes) break;
      filled += chunk.copy(copy, filled, 0, lengthBytes - filled);
    }
    return copy.subarray(0, filled);
  }

  /** Takes bytes as one buffer. */
  take(lengthBytes: number): Buffer {
    const bytes = this.peek(lengthBytes);
    this.takeSlices(lengthBytes);
    return bytes;
  }

  /** Takes bytes as slices of the chunks they came in: no copy, however long. */
  takeSlices(lengthBytes: number): Buffer[] {
    const slices: Buffer[] = [];
    let left = lengthBytes;
    while (left > 0) {
      const chunk = this.#chunks[0];
      if (chunk === undefined) throw new RangeError(`${left} of ${lengthBytes} bytes are not there yet`);
      if (chunk.length <= left) {
        this.#chunks.shift();
        slices.push(chunk);
        left -= chunk.length;
      } else {
        slices.push(chunk.subarray(0, left));
        this.#chunks[0] = chunk.subarray(left);
        left = 0;
      }
    }
    this.#lengthBytes -= lengthBytes;
    return slices;
  }

  #pushSmall(chunk: Buffer): void {
    const last = this.#gathering ? this.#chunks.at(-1) : undefined;
    if (this.#gathered + chunk.length > this.#gather.length) {
      this.#gather = Buffer.allocUnsafeSlow(GATHER_BYTES);
      this.#gathered = 0;
    } else if (last !== undefined) {
      chunk.copy(this.#gather, this.#gathered);
      this.#gathered += chunk.length;
      this.#chunks[this.#chunks.length - 1] = this.#gather.subarray(
        this.#gathered - chunk.length - last.length,
        this.#gathered,
      );
      return;
    }
    chunk.copy(this.#gather, this.#gathered);
    this.#chunks.push(this.#gather.subarray(this.#gathered, this.#gathered + chunk.length));
    this.#gathered += chunk.length;
    this.#gathering = true;
  }
}
