/**
 * A profile file compiled into rules: what happens to which attribute. PS3.15 Annex E, Table E.1-1 (edition in the table's name), its
 * options (E.3), and the decisions a profile takes where the table leaves a choice.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { tag as tagOfKeyword } from '../dicom/dictionary.ts';
import { compileOverrides, type Override, type OverrideFile } from './overrides.ts';
import { compilePrivateList, type PrivateEntryFile, type PrivateList } from './private-list.ts';
import type { BasicAction, Rule } from './rule.ts';

/** Options of PS3.15 E.3 that change cells of the table. Dates, private attributes, pixels and faces have keys of their own. */
export type Option =
  | 'clean-descriptors'
  | 'clean-structured-content'
  | 'clean-graphics'
  | 'retain-patient-characteristics'
  | 'retain-device-identity'
  | 'retain-institution-identity'
  | 'retain-uids';

/** What config/safe-private.yaml holds. */
export type PrivateCreators = Readonly<Record<string, readonly PrivateEntryFile[]>>;

/** A file of config/profiles, checked against config/schema/profile.schema.json. */
export interface ProfileFile {
  readonly profile: string;
  readonly description?: string;
  readonly edition: 'PS3.15-2024b';
  readonly base: 'basic';
  readonly options?: readonly Option[];
  /**
   * Text that an option keeps. `words`: only what a clinical vocabulary knows stays, so that nothing unforeseen does;
   * `scrub`: everything stays but the study's own identifiers and what has the form of one.
   */
  readonly freeText?: 'words' | 'scrub';
  /** Free text that neither the table nor the allow-list names: gone, cleaned, or the object is held. */
  readonly unknown: 'remove' | 'clean' | 'quarantine';
  readonly dates:
    | { readonly mode: 'shift'; readonly windowDays: readonly [number, number]; readonly times: 'keep' | 'remove' }
    | { readonly mode: 'year-only' }
    | { readonly mode: 'remove' }
    | { readonly mode: 'keep' };
  /** `cap-89`: kept up to 89 years, above that 090Y and no birth year. */
  readonly ages: 'remove' | 'cap-89' | 'keep';
  /** `deface`: taken out of CT and MR volumes once their series is whole; what that cannot be done with is held. */
  readonly faces: 'quarantine' | 'deface' | 'allow';
  readonly pixels: 'quarantine' | 'allow' | PixelCleaning;
  /** `clean`: an encapsulated CDA is cleaned as its texts are; every other document waits for a person, and every one without this. */
  readonly documents?: 'clean' | 'quarantine';
  readonly private?:
    | { readonly mode: 'remove' }
    | {
        readonly mode: 'safe-list';
        readonly list: string;
        /** What the list's file holds, by creator; filled in by whoever reads the file. */
        readonly creators?: PrivateCreators;
      };
  /** `once`: pseudonyms of a key that nobody keeps, and no crosswalk (one-time.ts). */
  readonly keys?: 'project' | 'once';
  /** 45 CFR 164.514(b)(1): what an expert has found, until when, and who may receive what comes out. */
  readonly determination?: { readonly id: string; readonly expires: string; readonly recipients: readonly string[] };
  readonly overrides?: readonly OverrideFile[];
}

/** Text in pixels is found and blanked; what cannot be cleaned waits in quarantine. */
export interface PixelCleaning {
  /** Which objects are looked at: those whose class or header says that they may hold text, or all. */
  readonly screen: 'risky' | 'all';
  /** File of device rules in the configuration's folder. */
  readonly rules?: string;
  /** `regions-only`: of an ultrasound image nothing stays but its declared regions. */
  readonly ultrasound: 'regions-only' | 'detector';
  readonly detector: 'text-detect';
  readonly onResidual: 'quarantine';
  /** Frames without a lossless form in their transfer syntax once they are blanked; default: they leave as samples. */
  readonly onUnwritable?: 'native' | 'quarantine';
}

export interface CompiledProfile {
  readonly name: string;
  readonly file: ProfileFile;
  readonly options: ReadonlySet<Option>;
  readonly rules: ReadonlyMap<number, Rule>;
  /** By the tag that they end in, the first that fits holds. */
  readonly overrides: ReadonlyMap<number, readonly Override[]>;
  /** undefined: every private attribute goes. */
  readonly privateList: PrivateList | undefined;
  /** SHA-256 over the rules and the choices: what (0012,0063) names. */
  readonly hash: string;
  readonly keepTimes: boolean;
}

interface TableRow {
  readonly tag: string;
  readonly keyword: string;
  readonly vr: string;
  readonly basic: BasicAction;
  readonly cleanDescriptors?: 'C';
  readonly cleanStructuredContent?: 'C';
  readonly cleanGraphics?: 'C';
  readonly retainLongitudinalFullDates?: 'K';
  readonly retainLongitudinalModifiedDates?: 'C';
  readonly retainUIDs?: 'K';
  readonly retainPatientCharacteristics?: 'K' | 'C';
  readonly retainDeviceIdentity?: 'K' | 'C';
  readonly retainInstitutionIdentity?: 'K';
  readonly retainSafePrivate?: 'C';
}

const COLUMNS = {
  'clean-descriptors': 'cleanDescriptors',
  'clean-structured-content': 'cleanStructuredContent',
  'clean-graphics': 'cleanGraphics',
  'retain-patient-characteristics': 'retainPatientCharacteristics',
  'retain-device-identity': 'retainDeviceIdentity',
  'retain-institution-identity': 'retainInstitutionIdentity',
  'retain-uids': 'retainUIDs',
} as const satisfies Record<Option, keyof TableRow>;

/** What a profile file contradicts itself in; `path` leads to the place. */
export class ProfileFault extends Error {
  readonly path: readonly (string | number)[];

  constructor(path: readonly (string | number)[], sentence: string) {
    super(sentence);
    this.name = 'ProfileFault';
    this.path = path;
  }
}

const TABLE = readTable();

function readTable(): TableRow[] {
  const file = new URL('../dicom/standard/e1-1-2024b.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { rows: TableRow[] }).rows;
}

/**
 * Changes the rules of every edition when it rises: attributes that the table does not name are handled by code, not by data.
 * Part of the hash, so that a stamp tells two engines apart.
 */
const RULES_VERSION = 2;

/** @throws ProfileFault */
export function compileProfile(file: ProfileFile): CompiledProfile {
  refuseContradictions(file);
  const options = new Set(file.options ?? []);
  const keepTimes = file.dates.mode === 'keep' || (file.dates.mode === 'shift' && file.dates.times === 'keep');
  const rules = new Map<number, Rule>();
  for (const row of TABLE) {
    // Private, curve and overlay groups are removed whole, whatever the element; see rewrite.ts.
    if (/^[0-9A-F]{8}$/.test(row.tag)) rules.set(Number.parseInt(row.tag, 16), ruleOf(row, file, options, keepTimes));
  }
  for (const [keyword, rule] of OWN_RULES) rules.set(tagOfKeyword(keyword), rule);
  for (const [option, keyword] of OWN_CLEANED) {
    if (options.has(option)) rules.set(tagOfKeyword(keyword), { action: 'clean', otherwise: 'D' });
  }
  if (file.ages === 'cap-89') {
    rules.set(tagOfKeyword('PatientAge'), { action: 'age' });
    if (options.has('retain-patient-characteristics')) rules.set(tagOfKeyword('SelectorASValue'), { action: 'age' });
    if (file.dates.mode === 'year-only') rules.set(tagOfKeyword('PatientBirthDate'), { action: 'birth-date' });
  }
  const overrides = compileOverrides(file.overrides ?? [], fault);
  const privateList = compilePrivateList(
    file.private?.mode === 'safe-list' ? (file.private.creators ?? {}) : undefined,
    file.overrides ?? [],
    fault,
  );
  const { profile, description: _description, ...choices } = file;
  const hash = createHash('sha256')
    .update(JSON.stringify([RULES_VERSION, profile, choices, [...rules]]))
    .digest('hex');
  return { name: profile, file, options, rules, overrides, privateList, hash, keepTimes };
}

function fault(path: readonly (string | number)[], sentence: string): never {
  throw new ProfileFault(path, sentence);
}

function refuseContradictions(file: ProfileFile): void {
  const retainsPatient = file.options?.includes('retain-patient-characteristics') === true;
  if (file.ages === 'keep' && !retainsPatient)
    fault(['ages'], 'ages: keep needs the option retain-patient-characteristics; expected cap-89 or remove');
  if (file.ages === 'remove' && retainsPatient)
    fault(['ages'], 'ages: remove contradicts the option retain-patient-characteristics; expected cap-89 or keep');
  if (file.keys === 'once' && file.options?.includes('retain-uids') === true)
    fault(['keys'], 'keys: once contradicts the option retain-uids: what keeps its UIDs can be found again');
  if (file.documents === 'clean' && file.options?.includes('clean-structured-content') !== true)
    fault(['documents'], 'documents: clean needs the option clean-structured-content; expected quarantine');
  if (file.dates.mode === 'shift' && file.dates.windowDays[0] > file.dates.windowDays[1])
    fault(['dates', 'windowDays'], 'dates.windowDays must name the earlier offset first');
  if (file.determination !== undefined && !isCalendarDay(file.determination.expires))
    fault(['determination', 'expires'], 'determination.expires must be a day of the calendar, YYYY-MM-DD');
}

function isCalendarDay(day: string): boolean {
  const at = new Date(`${day}T00:00:00Z`);
  return !Number.isNaN(at.getTime()) && at.toISOString().startsWith(day);
}

/** A retain option's letter, else a clean option's, else the Basic Profile's; dates by what the profile does with dates. */
function ruleOf(row: TableRow, file: ProfileFile, options: ReadonlySet<Option>, keepTimes: boolean): Rule {
  const { basic, vr } = row;
  const byDates = dateRule(row, file, keepTimes);
  if (byDates !== undefined) return byDates;
  const cells = [...options].map((option) => row[COLUMNS[option]]);
  if (cells.includes('K')) return vr === 'SQ' ? { action: 'walk' } : { action: 'keep', otherwise: basic };
  if (cells.includes('C')) return vr === 'SQ' ? { action: 'walk' } : { action: 'clean', otherwise: basic };
  // A dummy for a sequence is the sequence with everything inside acted upon; where its items are codes, one dummy code.
  if (vr === 'SQ' && basic === 'D') return { action: row.keyword.includes('CodeSequence') ? 'code' : 'walk' };
  return { action: basic };
}

function dateRule({ basic, vr, ...row }: TableRow, file: ProfileFile, keepTimes: boolean): Rule | undefined {
  if (row.retainLongitudinalModifiedDates !== 'C' || file.dates.mode === 'remove') return undefined;
  if (vr === 'DA' || vr === 'DT' || vr === 'TM') return { action: 'date', otherwise: basic };
  // The offset from UTC goes with the times of day; a time stamp sealed into bytes can be kept or removed, not moved.
  if (vr === 'SH') return keepTimes ? { action: 'zone', otherwise: basic } : { action: basic };
  return file.dates.mode === 'keep' ? { action: 'keep', otherwise: basic } : { action: basic };
}

/** Text that the table reaches through the sequence it stands in. */
const OWN_CLEANED: readonly (readonly [Option, string])[] = [
  ['clean-structured-content', 'TextValue'],
  ['clean-graphics', 'UnformattedTextValue'],
];

/** Where the table leaves the value open or is silent and something better than nothing can be said. */
const OWN_RULES: readonly (readonly [keyword: string, rule: Rule])[] = [
  // Z allows a dummy: viewers and people tell patients apart by these two.
  ['PatientName', { action: 'patient-name' }],
  ['PatientID', { action: 'patient-id' }],
  // Text that people wrote into reports and onto images, not in the table since options speak of it.
  ['TextValue', { action: 'D' }],
  ['UnformattedTextValue', { action: 'D' }],
  // Words that other attributes of the object refer to: equal stays equal.
  ['StackID', { action: 'word' }],
  ['TrackingID', { action: 'word' }],
  ['OpticalPathIdentifier', { action: 'word' }],
  ['ReferencedOpticalPathIdentifier', { action: 'word' }],
  // Encrypted originals and signatures over what has changed lead back or no longer hold.
  ['EncryptedContent', { action: 'X' }],
  ['Signature', { action: 'X' }],
  ['RecordKey', { action: 'X' }],
  ['PriorRecordKey', { action: 'X' }],
  // X in the table; the IOD wants them, empty, where the patient is an animal.
  ['ResponsiblePerson', { action: 'owner' }],
  ['ResponsibleOrganization', { action: 'owner' }],
  // Speaks of blocks that are gone or counted anew.
  ['PrivateDataElementCharacteristicsSequence', { action: 'X' }],
];

/** (gggg,eeee) rows with the keyword and the Basic Profile's letter, for reports and tests. */
export function tableRows(): readonly TableRow[] {
  return TABLE;
}
