/**
 * Ends a thread that may be inside onnxruntime. To terminate it there would end the whole process: the call comes back, cannot make its
 * result, and throws what nobody catches. So the thread counts itself in and out, and who ends it first closes the way in, then waits.
 */
export type Brake = Int32Array<SharedArrayBuffer>;

const INSIDE = 0;
const CLOSED = 1;

/** For a new thread, which is inside from its start on: it loads onnxruntime before its first line runs. */
export function newBrake(): Brake {
  const brake = new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT));
  Atomics.store(brake, INSIDE, 1);
  return brake;
}

/** In the thread: onnxruntime has been loaded. */
export function leave(brake: Brake): void {
  Atomics.sub(brake, INSIDE, 1);
  Atomics.notify(brake, INSIDE);
}

/** In the thread: makes a call into onnxruntime. @throws Error when the way in is closed */
export async function callInside<T>(brake: Brake | undefined, call: () => Promise<T>): Promise<T> {
  if (brake === undefined) return call();
  Atomics.add(brake, INSIDE, 1);
  try {
    if (Atomics.load(brake, CLOSED) === 1) throw new Error('the thread is being ended');
    return await call();
  } finally {
    leave(brake);
  }
}

/** From another thread: resolves when nothing is inside, and nothing will be. */
export async function closeWayIn(brake: Brake): Promise<void> {
  Atomics.store(brake, CLOSED, 1);
  for (let inside = Atomics.load(brake, INSIDE); inside > 0; inside = Atomics.load(brake, INSIDE)) {
    await Atomics.waitAsync(brake, INSIDE, inside).value;
  }
}
