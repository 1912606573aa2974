/** Takes the objects of an answer key through the engine and scores what comes out. */
import { readHead } from '../../../src/dicom/part10.ts';
import { Refusal } from '../../../src/dicom/refusal.ts';
import { compileProfile } from '../../../src/deidentify/profile.ts';
import { fileOf, memoryWall, pass, PROFILES } from '../support.ts';
import type { AnswerKey } from './key.ts';
import { score, type Mappings, type Output, type Score, type Tally } from './score.ts';

export interface Taken {
  readonly score: Score & { readonly mappings: Mappings };
  /** Part 10 objects by name. */
  readonly files: ReadonlyMap<string, Buffer>;
  readonly held: number;
}

export async function take(key: AnswerKey, profileName: string): Promise<Taken> {
  const name = PROFILES.find((known) => known === profileName);
  if (name === undefined) throw new Error(`no profile ${profileName}; one of ${PROFILES.join(', ')}`);
  // What is scored are attributes: a head would wait for the rest of its series.
  const profile = compileProfile({ ...fileOf(name), faces: 'allow' });
  const wall = memoryWall();
  const outputs = new Map<string, Output>();
  const files = new Map<string, Buffer>();
  let held = 0;
  for (const object of key.objects) {
    try {
      const { file, body } = await pass(object.bytes, { wall, profile });
      files.set(object.name, file);
      outputs.set(object.name, { dataSet: readHead(file).head.dataSet, pixels: body });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      held++;
    }
  }
  wall.database.close();
  return { score: score(key, outputs), files, held };
}

const share = ({ passed, total }: Tally): number => (total === 0 ? 1 : passed / total);

/** DEID.md section 11, criterion 3. */
export const THRESHOLDS: readonly { readonly name: string; readonly holds: (score: Score) => boolean }[] = [
  { name: 'overall >= 99.95 %', holds: ({ overall }) => share(overall) >= 0.9995 },
  {
    name: 'HIPAA 100 %',
    holds: ({ byCategory }) =>
      [...byCategory].every(([name, tally]) => !name.startsWith('HIPAA') || share(tally) === 1),
  },
  {
    name: 'text retained >= 99.8 %',
    holds: ({ byAction }) => share(byAction.get('text_retained') ?? { passed: 0, total: 0 }) >= 0.998,
  },
];
