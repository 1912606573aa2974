/** What has the form of an identifier, whoever's it is: dates, telephone numbers, numbers of records, addresses of every kind. */
import { EASTERN_PATTERNS } from './eastern-patterns.ts';
import { isClinicalWord } from './vocabulary.ts';
import { fold, wordsOf } from './words.ts';

/** From `start` up to, not including, `end`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

interface Pattern {
  readonly expression: RegExp;
  /**
   * What every match holds a match of. Cheap to compile, as the expression with its classes of all letters is not: some take 10 ms, and
   * V8 forgets what it compiled when it collects garbage.
   */
  readonly sign: RegExp;
  /** Which part goes; the whole match when absent. */
  readonly group?: number;
  readonly unless?: (match: RegExpExecArray) => boolean;
  /** Clinical words at both ends stay. */
  readonly trims?: boolean;
  /** Ends before the first word of the trade: "MR. MEIER REVIEWED THE IMAGES". */
  readonly isName?: boolean;
}

const MONTH =
  '(?:jan(?:uary|uar|vier|eiro)?|jänner|j(?:an)?v|enero|ene|gennaio|gen|feb(?:ruary|ruar)?|feber|f[ée]v(?:r(?:ier)?)?|febrero|febbraio|fevereiro|mar(?:ch|s|zo|ço)?|m(?:ä|ae)rz|apr(?:il|ile)?|avr(?:il)?|abr(?:il)?|may|mai|mayo|maggio|maio|june?|juni|juin|junio|giugno|junho|july?|juli|juill?(?:et)?|julio|luglio|julho|aug(?:ust)?|ao[uû]t|ago(?:sto)?|sept?(?:ember|embre)?|septiembre|setiembre|settembre|setembro|set|o[ck]t(?:ober|obre|ubre)?|ottobre|outubro|nov(?:ember|embre|iembre)?|novembro|de[cz](?:ember)?|d[ée]c(?:embre)?|diciembre|dic(?:embre)?|dezembro)';
/** How each of them begins. */
const A_MONTH =
  /jan|jän|jv|ene|gen|feb|f[ée]v|mar|m(?:ä|ae)r|apr|avr|abr|ma[iyg]|ju[inl]|giu|lug|aug|ao[uû]|ago|sep|set|o[ck]t|ott|out|nov|de[cz]|d[ée]c|dic/iu;
const DAY = '(?:0?[1-9]|[12]\\d|3[01])';
const MONTH_NUMBER = '(?:0?[1-9]|1[0-2])';
const YEAR = '(?:1[89]|20)\\d\\d';
const NOT_IN_NUMBER = '(?<![\\d.])';
const NAME = "\\p{Lu}[\\p{L}\\p{M}'’-]{1,30}";
const STREETS =
  '(?:street|str|avenue|ave|road|rd|boulevard|blvd|lane|ln|drive|highway|hwy|terrace|parkway|pkwy|crescent)';
const SHORT_STREETS = '(?:St|ST|Ct|CT|Dr|DR|Pl|PL|Sq|SQ|Place|PLACE|Square|Court|Way|WAY|Circle|Cir|Close|Row)';
const GERMAN_STREETS = '(?:straße|strasse|str\\.|gasse|allee|platz|weg|ring|ufer|damm)';
const ROMANCE_STREETS = '(?:rue|avenue|boulevard|chemin|impasse|allée|place|quai|via|viale|piazza|calle|avenida|plaza)';
const TELEPHONES =
  '(?:tel|tél|phone|ph|fax|mobile|cell|pager|handy|telefon|fon|ext|téléphone|teléfono|tfno|móvil|portable|durchwahl)';
const TITLES =
  '(?:Dr|DR|Drs|Mr|MR|Mrs|MRS|Ms|MS|Miss|MISS|Prof|PROF|Pr|Professor|PROFESSOR|Professeur|Doctor|DOCTOR|Docteur|DOCTEUR|Herrn?|HERRN?|Frau|FRAU|Hr|Fr|Mme|Mlle|Madame|MADAME|Monsieur|MONSIEUR|Dott|Sra?|Dra|Don|Doña|DOÑA|Señora?|Nurse|NURSE|Sister|Schwester|MTRA?|MTAR|MTR|RN|Ober[aä]rzt(?:in)?|Chef[aä]rzt(?:in)?|Assistenz[aä]rzt(?:in)?|Kollegen?|Kollegin)';
const ROLES =
  '(?:[Bb]y|BY|[Ss]igned|SIGNED|[Nn]ame|NAME|[Pp]hysician|PHYSICIAN|[Rr]adiologist|[Tt]ech(?:nologist|nician)?|TECH|[Ss]onographer|[Rr]adiographer|[Nn]urse|[Rr]eviewer|[Oo]perator|OPERATOR|[Ss]urgeon|[Aa]ttn|ATTN|c/o|[Rr]eader|[Aa]rzt|[Ff]do\\.?|[Üü]berweiser|[Zz]uweiser|[Pp]atientin?|PATIENT|PT|Pt)';
const KIN =
  '(?:[Mm]other|[Ff]ather|[Ss]on|[Dd]aughter|[Ww]ife|[Hh]usband|[Bb]rother|[Ss]ister|[Ss]pouse|[Pp]artner|[Nn]ext of kin|Tochter|Sohn|Ehefrau|Ehemann|Gattin|Mutter|Vater|Bruder|[Mm]ari|[Ff]emme|[Ff]ils|[Ff]ille|[ÉEée]pouse|[Mm]ère|[Pp]ère|[Hh]ij[oa]|[Ee]spos[oa]|[Mm]arido|[Mm]adre|[Pp]adre)';
const SOUTHERN_STREETS =
  '(?:C\\/|[Cc]alle|CALLE|[Aa]v(?:da?)?\\.?|[Aa]venida|[Pp]laza|[Pp]za\\.?|[Pp]aseo|[Vv]ia|[Vv]iale|[Pp]iazza|[Rr]ua|[Tt]ravessa)';
const LABEL =
  '(?:mrn|mpi|pid|nhs|ssn|dob|id|ids|acc|accession|account|acct|case|chart|record|policy|license|licence|member|visit|encounter|fin|csn|order|serial|passport|insurance|versichertennr|versichertennummer|fallnr|fallnummer|patnr|patientnr|patientennummer|auftrag|auftragsnummer|gmc|npi|rpps|adeli|finess|ipp|nip|nir|dossier|dni|nie|nhc|historia|expediente|colegiado|cmp|crm|lanr|bsnr|visit no|patient[ _-]?id|medical record)';

const THREE_DIGITS = /\d{3}/;
const FIVE_DIGITS = /\d{5}/;
const A_CLOCK = /\d:[0-5]\d/;

export const PATTERNS: readonly Pattern[] = [
  // Mail, addresses of the web, of networks and of machines.
  { sign: /@/, expression: /[\p{L}\p{N}._%+-]{1,64}@[\p{L}\p{N}-]{1,63}(?:\.[\p{L}\p{N}-]{1,63}){0,6}/gu },
  {
    sign: /https?:|ftp:|file:|dicom:|hl7:|tel:|mailto:/iu,
    expression: /\b(?:https?|ftp|sftp|file|dicom|hl7|tel|mailto):\/{0,2}[^\s<>"']{3,500}/giu,
  },
  { sign: /www\./iu, expression: /\bwww\.[^\s<>"']{3,500}/giu },
  {
    sign: /\.[a-z]{2}/iu,
    expression:
      /\b[a-z0-9-]{2,63}(?:\.[a-z0-9-]{1,63}){0,4}\.(?:com|org|net|edu|gov|de|uk|fr|ch|at|it|es|nl|eu|info|local|lan|internal)\b(?:\/[^\s]{0,200})?/giu,
  },
  { sign: /\d\.\d{1,3}\.\d/, expression: /(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])/gu },
  { sign: /[0-9a-f][:-][0-9a-f]{2}[:-]/iu, expression: /\b[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}\b/giu },
  {
    sign: /[0-9a-f]:[0-9a-f]{1,4}:/iu,
    expression: /(?<![0-9a-f:])(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}(?![0-9a-f:])/giu,
    unless: ([text]) => !/[a-f]|:.*:.*:.*:/i.test(text),
  },
  // UIDs.
  { sign: /\.\d{1,39}\.\d{1,39}\.\d/, expression: /(?<![\d.])[0-2](?:\.\d{1,39}){4,20}(?![\d.])/gu },
  // Dates.
  {
    sign: /\d{8}/,
    expression: new RegExp(
      `(?<!\\d)${YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\\d|3[01])(?:(?:[01]\\d|2[0-3])[0-5]\\d(?:[0-5]\\d(?:\\.\\d{1,6})?)?)?(?!\\d)`,
      'gu',
    ),
  },
  {
    sign: new RegExp(YEAR),
    expression: new RegExp(
      `${NOT_IN_NUMBER}${YEAR}([-/. ])${MONTH_NUMBER}\\1${DAY}(?!\\d)(?:[T ]\\d{1,2}:\\d{2}(?::\\d{2})?(?:\\.\\d+)?Z?| ?@ ?\\d{4})?`,
      'gu',
    ),
  },
  {
    sign: /\d[-/.]\s?\d{1,2}[-/.]/u,
    expression: new RegExp(`${NOT_IN_NUMBER}${DAY}([-/.])\\s?${MONTH_NUMBER}\\1\\s?(?:${YEAR}|\\d\\d)(?!\\d)`, 'gu'),
  },
  {
    sign: /\d[-/.]\d{1,2}[-/.]/,
    expression: new RegExp(
      `${NOT_IN_NUMBER}${MONTH_NUMBER}([-/.])${DAY}\\1(?:${YEAR}|\\d\\d)(?!\\d)(?: ?@ ?\\d{4}(?!\\d))?`,
      'gu',
    ),
  },
  {
    sign: A_MONTH,
    expression: new RegExp(
      `(?<!\\d)${DAY}(?:st|nd|rd|th|er|º|°|\\.)?[-/ ]{1,2}(?:of |de |di )?${MONTH}\\.?(?:(?:[-/ ,]{1,2}| del? )(?:${YEAR}|'?\\d\\d))?(?![\\p{L}\\d])`,
      'giu',
    ),
  },
  {
    sign: A_MONTH,
    expression: new RegExp(
      `(?<!\\p{L})${MONTH}\\.?[-/ ]${DAY}(?:st|nd|rd|th)?(?:[-/ ,]{1,2}(?:${YEAR}|'\\d\\d))?(?!\\d)`,
      'giu',
    ),
  },
  { sign: A_MONTH, expression: new RegExp(`(?<!\\p{L})${MONTH}\\.?(?:[-/ ,]{1,2}| del? )${YEAR}(?!\\d)`, 'giu') },
  {
    sign: /\d[-/]\d/,
    expression: new RegExp(`(?<!\\d)(?:${MONTH_NUMBER}/${YEAR}|${YEAR}[-/](?:0[1-9]|1[0-2]))(?![\\d/])`, 'gu'),
  },
  {
    sign: / \d{1,2}[./]\d/,
    expression: /(?<![\p{L}\d])(?:on|at|seit|vom|am|du|le) (\d{1,2}[./]\d{1,2}\.?)(?!\.?\d|%)/giu,
    group: 1,
  },
  // A year of birth that makes somebody older than 89.
  {
    sign: /1[89]\d\d/,
    expression:
      /(?:born|birth|dob|geb(?:oren|urtsjahr)?|née?|nacid[oa]|nato|nata|\*)\D{0,12}((?:18[5-9]|19[0-3])\d)(?!\d)/giu,
    group: 1,
  },
  // Times of day.
  { sign: A_CLOCK, expression: /(?<![\d:])(?:[01]?\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?!\d)/gu },
  {
    sign: A_CLOCK,
    expression: /(?<![\d:])(?:[01]\d|2[0-3]):[0-5]\d(?![\d:])|(?<![\d:])\d{1,2}:[0-5]\d(?= ?[ap]\.?m\b)/giu,
  },
  {
    sign: /\d[.:][0-5]\d ?Uhr|\d ?[hH] ?[0-5]\d/,
    expression: /(?<![\d.,])(?:[01]?\d|2[0-3])(?:[.:][0-5]\d(?= ?Uhr)| ?[hH] ?[0-5]\d(?!\d))/gu,
  },
  // Ages above 89.
  {
    sign: /9\d|1[0-4]\d/,
    expression:
      /(?<!\d)(?:9\d|1[0-4]\d)[- ]{0,2}(?:y\/?o|yr?s?|years?|jahre?|jährig\w*|ans|años|anni)\b(?:[- ]old)?/giu,
  },
  { sign: /9\d|1[0-4]\d/, expression: /\b(?:aged?|alter|âge|edad|età)[: ]{1,2}(?:9\d|1[0-4]\d)(?!\d)/giu },
  { sign: /(?:09|1[0-4])\dY/, expression: /(?<!\d)(?:09\d|1[0-4]\d)Y\b/gu },
  // Social security and telephone numbers.
  { sign: /\d{3}[- ]\d{2}[- ]\d{4}/, expression: /(?<!\d)\d{3}[- ]\d{2}[- ]\d{4}(?!\d)/gu },
  {
    sign: /[12] \d{2} \d{2} (?:\d{2}|2[AB]) \d{3} \d{3}/,
    expression: /(?<!\d)[12] \d{2} (?:0[1-9]|1[0-2]|[2-9]\d) (?:\d{2}|2[AB]) \d{3} \d{3}(?: \d{2})?(?!\d)/gu,
  },
  { sign: /\d{4}[ -]\d{4}[ -]\d{4}/, expression: /(?<!\d)\d{4}(?:[ -]\d{4}){3}(?!\d)/gu },
  {
    sign: /[A-Z]{2}\d{2} ?[A-Z\d]{4} ?[A-Z\d]{4}/,
    expression: /\b[A-Z]{2}\d{2}(?: ?[A-Z\d]{4}){3,7}(?: ?[A-Z\d]{1,3})?\b/gu,
    unless: ([text]) => !/\d{8}/.test(text.replaceAll(' ', '')),
  },
  { sign: /0\d[ .-]\d{2}[ .-]\d{2}[ .-]/, expression: /(?<![\d.])0\d(?:[ .-]\d{2}){4}(?!\d)/gu },
  {
    sign: /(?:\+|00)\d/,
    expression: /(?:\+|(?<!\d)00)\d{1,3}[-./ ()]{0,3}\d{1,5}(?:[-./ ()]{1,2}\d{1,5}){1,5}(?!\d)/gu,
  },
  {
    sign: /\d\)?[-./ ]{1,2}\d{3,4}[-./ ]\d{3}/,
    expression: /(?<![\d.])\(?\d{3,5}\)?[-./ ]{1,2}\d{3,4}[-./ ]\d{3,4}(?!\d)/gu,
  },
  { sign: /\d{3}-\d{4}/, expression: /(?<![\d.])\d{3}-\d{4}(?!\d)/gu },
  { sign: /0\d{2,5}[-/ ]/, expression: /(?<![\d.])0\d{2,5}[-/ ]{1,3}\d{3,9}(?!\d)/gu },
  {
    sign: new RegExp(`${TELEPHONES}[.:# ]`, 'iu'),
    expression: new RegExp(`\\b${TELEPHONES}\\b[.:# ]{1,3}([+(]?\\d[\\d ()/.-]{2,20}\\d)`, 'giu'),
    group: 1,
  },
  // Numbers of records: after a word that announces one, or too long to count anything.
  {
    sign: new RegExp(`${LABEL}(?:[ .]{0,2}(?:no|nr|num|number))?[.:#= ]`, 'iu'),
    expression: new RegExp(
      `\\b${LABEL}(?:[ .]{0,2}(?:no|nr|num|number))?[.:#= ]{1,3}([\\p{L}\\p{N}][\\p{L}\\p{N}/_-]{2,40})`,
      'giu',
    ),
    group: 1,
    unless: (match) => !/\d/.test(match[1] ?? ''),
  },
  { sign: /#/, expression: /(?<![\p{L}\p{N}.])#\s?\d{3,}/gu },
  { sign: /\d{6}/, expression: /(?<![\d.,])\d{6,}(?![\d.,]*\d)/gu },
  {
    sign: FIVE_DIGITS,
    expression:
      /(?<![\p{L}\p{N}])(?=[\p{L}\d-]{0,20}\d)(?=[\p{L}\d-]{0,20}\p{L})(?:(?![\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}])\p{L}){0,4}-?\d{5,}[\p{L}\d-]{0,12}(?![\p{L}\p{N}])/gu,
  },
  {
    sign: THREE_DIGITS,
    expression: /(?<![\p{L}\p{N}])(?!\d{1,4}x\d)\d{1,3}\p{L}{1,3}\d{3,}[\p{L}\d]{0,12}(?![\p{L}\p{N}])/giu,
  },
  // Streets, boxes, postal codes.
  {
    sign: new RegExp(` ${STREETS}`, 'iu'),
    expression: new RegExp(
      `(?<!\\d)\\d{1,5}[a-z]?,? (?:[NSEW]\\.? )?(?:\\p{L}[\\p{L}'’.-]{0,24} ){1,4}${STREETS}\\b\\.?(?:,? (?:apt|suite|ste|unit|floor|fl|#)\\.? ?\\w{1,6})?`,
      'giu',
    ),
  },
  // Endings that mean other things too: only after a word that no examination has.
  {
    sign: new RegExp(` ${SHORT_STREETS}`),
    expression: new RegExp(
      `(?<!\\d)\\d{1,5}[a-z]?,? (?:[NSEW]\\.? )?((?:\\p{Lu}[\\p{L}'’.-]{0,24} ){1,4})${SHORT_STREETS}\\b\\.?`,
      'gu',
    ),
    unless: (match) => allClinical(match[1] ?? '') && !/(?:St|ST)\.?$/.test(match[0]),
  },
  {
    sign: new RegExp(`${GERMAN_STREETS} ?\\d`, 'iu'),
    expression: new RegExp(
      `(?<!\\p{L})(\\p{L}[\\p{L}.-]{1,30}[ -]?${GERMAN_STREETS}) ?\\d{1,4}(?:(?![.,]\\d| ?(?:[x×%]|mm|cm|ml|mg)) ?[a-z])?(?![.,]?\\d| ?(?:[x×%]|mm|cm|ml|mg))\\b`,
      'giu',
    ),
    unless: (match) => allClinical(match[1] ?? ''),
  },
  {
    sign: new RegExp(SOUTHERN_STREETS),
    expression: new RegExp(
      `(?<!\\p{L})${SOUTHERN_STREETS} ?(?:(?:de|del|la|los|las|el|della|di|da|do|dos) ){0,3}\\p{Lu}[\\p{L}'’.-]{1,24}(?: (?:(?:de|del|la|y) )?\\p{Lu}[\\p{L}'’.-]{1,24}){0,3},? (?:n[º°.]? ?)?\\d{1,4}(?:,? ?\\d{1,2}[º°ª] ?\\p{L}{0,4})?`,
      'gu',
    ),
  },
  {
    sign: new RegExp(`\\d(?: ?(?:bis|ter))?,? ${ROMANCE_STREETS} `, 'iu'),
    expression: new RegExp(
      `(?<!\\d)\\d{1,4}(?: ?(?:bis|ter))?,? ${ROMANCE_STREETS} (?:[\\p{L}'’.-]{1,24} ?){1,5}`,
      'giu',
    ),
  },
  { sign: /box/iu, expression: /\bp\.? ?o\.? box \d{1,6}/giu },
  {
    sign: FIVE_DIGITS,
    expression: new RegExp(`(?<!\\p{L})${NAME}(?: ${NAME}){0,2},? [A-Z]{2},? \\d{5}(?:-\\d{4})?(?!\\d)`, 'gu'),
  },
  { sign: FIVE_DIGITS, expression: /\b[A-Z]{2},? \d{5}(?:-\d{4})?(?!\d)/gu },
  { sign: FIVE_DIGITS, expression: /(?<![\d.])\d{5}-\d{4}(?!\d)/gu },
  { sign: /\d[A-Z\d]? \d[A-Z]/, expression: /\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b/gu },
  {
    sign: FIVE_DIGITS,
    expression: new RegExp(`(?<![\\d.])\\d{5} ((?=\\p{Lu})${NAME}(?: ${NAME})?)`, 'gu'),
    unless: (match) => allClinical(match[1] ?? ''),
  },
  // Names that the text itself announces.
  {
    sign: /\^/,
    expression:
      /[\p{L}\p{M}'’.-]{1,40}\^[\p{L}\p{M}'’.-]{0,40}(?: \p{Lu}[\p{L}\p{M}'’.-]{0,40})?(?:\^[\p{L}\p{M}'’.-]{0,40}){0,3}/gu,
    trims: true,
  },
  {
    sign: new RegExp(`${TITLES}[.: ]`),
    expression: new RegExp(
      `(?<!\\p{L})${TITLES}(?:[.:] {0,2}| {1,2})(?:(?:Dr|DR|med|MED|von|VON|van|VAN|de|DE|Kollegin|Kollegen?)\\.? ){0,3}((?:\\p{Lu}\\.[ -]?|\\p{Lu} ){0,3}${NAME}(?: (?:\\p{Lu}\\.? )?${NAME}){0,2})`,
      'gu',
    ),
    group: 1,
    unless: (match) => allClinical(match[1] ?? '') && !SURE_TITLE.test(match[0]),
    isName: true,
  },
  // Monsieur, by his initial: only before a name that is no word of the trade.
  {
    sign: /M\. /,
    expression: new RegExp(`(?<![\\p{L}.])M\\. (${NAME}(?: ${NAME}){0,2})`, 'gu'),
    group: 1,
    unless: (match) => anyClinical(match[1] ?? '') || EPONYMS.test(match[1] ?? ''),
    isName: true,
  },
  // Relatives, whom no attribute names.
  {
    sign: new RegExp(`${KIN}[ :]`, 'u'),
    expression: new RegExp(
      `(?<!\\p{L})${KIN}(?: ?: ?| )(\\p{Lu}\\p{Ll}[\\p{L}\\p{M}'’-]{1,30}(?: (?:\\p{Lu}\\.? |\\p{Lu}['’])?\\p{Lu}\\p{Ll}[\\p{L}\\p{M}'’-]{1,30})?)`,
      'gu',
    ),
    group: 1,
    unless: (match) => anyClinical(match[1] ?? ''),
  },
  {
    sign: new RegExp(`${ROLES}[ :=]`),
    expression: new RegExp(
      `(?<![\\p{L}\\p{M}])${ROLES}(?: ?[:=] ?| )(${NAME}(?:,? (?:\\p{Lu}\\.? )?${NAME}){0,2})`,
      'gu',
    ),
    group: 1,
    unless: (match) => startsClinical(match[1] ?? ''),
    isName: true,
  },
  ...EASTERN_PATTERNS,
];

/** Also "M." of Morbus, which people are not called by. */
const EPONYMS =
  /^(?:Addison|Alzheimer|Basedow|Bechterew|Beh[cç]et|Boeck|Bowen|Crohn|Cushing|Dupuytren|Fabry|Forestier|Gaucher|Hirschsprung|Hodgkin|Huntington|Kahler|Kienb[oö]ck|K[oö]hler|Ledderhose|Legg|Meni[eè]re|Ormond|Osgood|Osler|Paget|Parkinson|Perthes|Pick|Raynaud|Recklinghausen|Scheuermann|Still|Sudeck|Waldenstr[oö]m|Wegener|Whipple|Wilson)\b/;

/** Who is called so is a person, whatever the name means otherwise: Dr. Young, Mrs. Stone. MR and DR alone are modalities. */
const SURE_TITLE =
  /^(?:(?:Drs?|DR|Mr|MR|Mrs|MRS|Ms)\.|Drs?|Mrs|MRS|Miss|MISS|Prof|PROF|Doctor|DOCTOR|Herr|HERR|Frau|FRAU)/;

/** Of the words after a title, those up to the first that is no name's. */
function nameLength(words: string): number {
  let length = words.length;
  for (const word of wordsOf(words)) {
    if (word.start > 0 && word.text.length > 1 && isClinicalWord(fold(word.text)) && words[word.start - 1] === ' ') {
      length = words.slice(0, word.start).trimEnd().length;
      break;
    }
  }
  return length;
}

function allClinical(words: string): boolean {
  return words.split(/[^\p{L}\p{M}]+/u).every((word) => word === '' || isClinicalWord(fold(word)));
}

function startsClinical(words: string): boolean {
  return isClinicalWord(fold(wordsOf(words)[0]?.text ?? ''));
}

function anyClinical(words: string): boolean {
  return words.split(/[^\p{L}\p{M}]+/u).some((word) => word.length > 1 && isClinicalWord(fold(word)));
}

/** A match that is half a name, half a word of the trade loses its name alone. */
export function patternSpans(text: string): Span[] {
  const spans: Span[] = [];
  for (const { sign, expression, group, unless, trims, isName } of PATTERNS) {
    if (!sign.test(text)) continue;
    for (const match of text.matchAll(expression)) {
      if (unless?.(match as RegExpExecArray) === true) continue;
      const part = group === undefined ? match[0] : (match[group] ?? '');
      if (part === '') continue;
      if (trims === true) {
        spans.push(...trimmed(part, match.index));
        continue;
      }
      const start = match.index + (group === undefined ? 0 : match[0].lastIndexOf(part));
      spans.push({ start, end: start + (isName === true ? nameLength(part) : part.length) });
    }
  }
  return spans;
}

function trimmed(text: string, offset: number): Span[] {
  const strange = wordsOf(text).filter((word) => !isClinicalWord(fold(word.text)));
  const [first] = strange;
  const last = strange.at(-1);
  return first === undefined || last === undefined ? [] : [{ start: offset + first.start, end: offset + last.end }];
}
