/** Takes the objects of an answer key through the engine and scores what comes out. */
import { readHead } from '../../../src/dicom/part10.ts';
import { Refusal } from '../../../src/dicom/refusal.ts';
import { compileProfile } from '../../../src/deidentify/profile.ts';
import { fileOf, memoryWall, pass, PROFILES } from '../support.ts';
import type { AnswerKey, KeyRow } from './key.ts';
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
  const file = fileOf(name);
  const { determination } = file;
  const profile = compileProfile({
    ...file,
    faces: 'allow',
    pixels: 'allow',
    ...(determination && { determination: { ...determination, expires: '2999-12-31', recipients: ['trial'] } }),
  });
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
  return { score: score({ ...key, rows: key.rows.filter((row) => asks(name, row)) }, outputs), files, held };
}

type ProfileName = (typeof PROFILES)[number];

/** What a profile says in its file that it keeps; what has to go goes under each of them. */
const KEEPS: Readonly<Record<ProfileName, readonly ('text' | 'unlisted text' | 'patient' | 'station' | 'private')[]>> =
  {
    basic: [],
    'gdpr-anonymise': [],
    'gdpr-pseudonymise': ['text', 'patient', 'private'],
    'hipaa-expert': ['text', 'unlisted text', 'patient', 'private'],
    'hipaa-safe-harbor': [],
    'research-longitudinal': ['text', 'unlisted text', 'patient', 'station', 'private'],
  };

/** Whether a row of the key is asked of a profile: nobody keeps what the profile gives up. */
export function asks(name: ProfileName, { action, category, keyword, path }: KeyRow): boolean {
  const keeps = KEEPS[name];
  if (action !== 'text_retained' && action !== 'tag_retained') return true;
  // The table does not name these two.
  if (keyword === 'SegmentLabel' || keyword === 'SegmentDescription') return keeps.includes('unlisted text');
  if (category === 'TCIA-P15-DESC-C') return keeps.includes('text');
  if (category === 'TCIA-P15-PAT-K') return keeps.includes('patient');
  if (path.includes('"')) return keeps.includes('private');
  if (keyword === 'StationName') return keeps.includes('station');
  return true;
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
