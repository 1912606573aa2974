/** A process that ends itself, as by kill -9, at a step of its work: before or after the n-th call of what is counted. */
let steps = 0;

/** How many there were so far. */
export function stepsTaken(): number {
  return steps;
}

/** Each call of these is a step, and what comes after it another. @param last the step that is not survived; 0: none */
export function counting<T extends object>(owner: T, names: readonly (keyof T)[], last: number): void {
  const step = (): void => {
    steps++;
    if (steps === last) process.kill(process.pid, 'SIGKILL');
  };
  for (const name of names) {
    const original = owner[name] as (...values: unknown[]) => unknown;
    const counted = (...values: unknown[]): unknown => {
      step();
      const result = original.apply(owner, values);
      step();
      return result;
    };
    Object.assign(owner, { [name]: counted });
  }
}
