/**
 * What the answer key's studies say: sentences as radiologists and technologists write them, and people, places and numbers to plant in
 * them. Written for the key alone; it knows nothing of the vocabulary that free text is cleaned by.
 */
import type { Random } from '../../phantom/random.ts';
import type { CharacterSetName } from '../../phantom/part10.ts';

export function pick<T>(random: Random, list: readonly T[]): T {
  const chosen = list[Math.floor(random.next() * list.length)];
  if (chosen === undefined) throw new Error('nothing to pick from');
  return chosen;
}

export function whole(random: Random, from: number, to: number): number {
  return from + Math.floor(random.next() * (to - from + 1));
}

export function digits(random: Random, count: number): string {
  let text = String(whole(random, 1, 9));
  while (text.length < count) text += whole(random, 0, 9);
  return text;
}

/** What stands in the place of a brace. */
export type Slot =
  | 'who' // the patient
  | 'doc' // a physician or technologist that the header names
  | 'stranger' // somebody the header does not name, announced by a title
  | 'date'
  | 'id' // the patient's number
  | 'acc' // the accession number
  | 'phone'
  | 'address'
  | 'site'
  | 'mail'
  | 'url'
  | 'ssn'
  | 'ip'
  | 'age'; // above 89

/** Descriptions of series, studies and protocols; what fits 64 characters. */
export const SHORT: readonly string[] = [
  'AX T2 FLAIR FS 3mm {who}',
  'CTA chest PE protocol 1.25mm {date}',
  '{who} thorax without contrast',
  'Chest PA and lateral {acc}',
  'MR knee left PD FS sag for {doc}',
  'Abdomen portal venous phase {id}',
  'FDG PET whole body {date} rest',
  'Liver MRI dynamic gadoxetate, ref {stranger}',
  '{site} lumbar spine routine',
  'Mammography screening bilateral MLO {who}',
  'Bone scan delayed images {id}',
  'US abdomen complete, call {phone}',
  'Cardiac cine short axis {who}',
  'Prostate multiparametric b1400 ADC {acc}',
  'low dose lung nodule follow up {date}',
  'Hip arthrogram right {doc}',
  'Renal colic stone search 5mm supine {id}',
  'COR STIR pelvis {who}',
  'Angio runoff bilateral legs {date}',
  'Planning CT breast deep inspiration {id}',
  'Boost field tangential 6MV {who}',
  'GTV primary contour by {doc}',
  'Thyroid uptake 24h {date}',
  'Upper GI barium swallow {acc}',
  'Schulter rechts axial {who}',
  'Becken mit Kontrastmittel {id}',
  'Lunge nativ {date}',
  'Thorax de face et profil {who}',
  'Columna lumbar sagital T1 {who}',
  'Foie sans injection {date}',
  '{who}/{id}/HRCT 0.625mm B60',
  'T1 mprage sag 1x1x1 {acc}',
  'DWI b=1000 TR/TE 4000/100 {who}',
  'CT abd/pelvis w/wo {date} delayed 10 min',
  '[{who}] spine T11/12 to L4-L5',
  'PET/CT SUV 12.3 {id} 3.0T comparison',
  '{acc} DX hand 3 views',
  'BI-RADS 4 left 10-12 o clock {who}',
  '{who}: OP planning 512x512',
  'Hepatic phase 35 s {doc} 64-slice',
  'pre and post op {who} cervical',
  'Knie links 2 Ebenen, {who}',
  'Abdomen sin contraste {id}',
  'Genou gauche {date} 2 incidences',
  'stress/rest 1-day protocol {acc}',
  'Head first supine, {stranger}',
  'scout, {who}, 120kV 80mAs',
  'MRCP 3D {phone}',
];

/** Longer notes. */
export const LONG: readonly string[] = [
  'Clinical history of {who}: productive cough and fever since {date}. No pleural effusion is seen.',
  'Compared with the examination of {date} the nodule in the right upper lobe measures 8 mm, previously 6 mm.',
  'Findings were discussed with {stranger} by telephone at {phone}.',
  'Patient {who} (MRN: {id}) was positioned supine; motion artifact on sequence 4.',
  'Ordered by {doc} for persistent lower back pain radiating to the left leg.',
  'Prior films requested from {site}, {address}. They had not arrived at the time of reading.',
  'Report to be sent to {mail}. Moderate degenerative changes at L4/L5.',
  'Images are available at {url} for review of the distal radius fracture.',
  'SSN {ssn} verified at check in. Iodinated contrast 80 ml given without reaction.',
  '{who} is a {age} woman with a history of osteoporosis and a fall at home.',
  'Acquired on the workstation {ip}, repeat series because of breathing.',
  'Dictated by {stranger} on {date}. There is mild cardiomegaly and vascular congestion.',
  '{doc} reviewed the images and agrees. Gallstones without wall thickening.',
  'Accession {acc}: slice thickness 1.25 mm, pitch 0.98, tube voltage 120 kV.',
  'The patient lives at {address} and can be reached at {phone} for the follow-up in six months.',
  'Mother of {who} was present; sedation with propofol, no complications.',
  'Known allergy to penicillin. {who} tolerated the scan well.',
  'Small hypodense lesion in segment VII of the liver, likely a cyst, unchanged since {date}.',
  'Status post left hip arthroplasty, performed {date} at {site}.',
  'The stent in the left anterior descending artery is patent. Signed electronically by {stranger}.',
  'Radiotherapy of {who}: 50 Gy in 25 fractions to the left breast, boost 10 Gy.',
  'Bladder volume 240 ml, residual urine 15 ml; {who} felt no urgency.',
  'Contact {mail} or {phone} in case of questions about contouring of the spinal cord.',
  'Isocenter verified with cone beam CT on {date}; couch shift 2 mm lateral.',
  'Normal ejection fraction. No evidence of myocardial infarction. cc {doc}',
  'Befund von {who}: kein Nachweis einer Fraktur, Verlauf nach Osteosynthese regelrecht.',
  'Voruntersuchung vom {date} zum Vergleich. Zyste in der linken Niere, 12 mm.',
  'Zuweiser {stranger}, Telefon {phone}. Beginnende Arthrose im rechten Kniegelenk.',
  'Compte rendu de {who}: pas de lésion osseuse, comparaison avec le scanner du {date}.',
  'Paciente {who}, dolor abdominal desde {date}, sin signos de apendicitis.',
  'Blood pressure 120/80 mmHg, heart rate 72, creatinine 0.9 mg/dl. DOB {date}.',
  'Mass 8 x 6 x 11 mm in segment 4b; grade 2/3. Name: {who}',
  '{who}\r\n{id}\r\nSUV max 12.3, liver background 2.1, glucose 98 mg/dl.',
  'FOV 350 mm, matrix 512x512, TR/TE 4000/100, b=0/500/1000. Operator {doc}.',
  'Called {stranger} on {date} from the reading room; read back confirmed.',
  'Fax: {phone}. Please send the discs to {site}.',
  'Seen in clinic {date}; next visit {date}. Weight 72 kg, height 174 cm.',
  'Images of ({who}) were pushed from {ip} after a network failure.',
  'Disc 3/4 at the lower cervical level, T11/12 and L5/S1 are narrowed; cf. {date}.',
  'MRN {id}, accession no. {acc}: duplicate order cancelled, 1 of 2 series kept.',
  'E-mail {mail}; consent for research signed {date}. Ejection fraction 55-60 %.',
  'Contrast 1.5 ml/kg at 3 ml/s, total 90 ml, bolus tracking at 150 HU. Tech: {doc}',
  "{who}'s previous CT showed a 12 mm node at station 4R; today 9 mm.",
  'Dear {stranger}, thank you for referring this 54-year-old man with hematuria.',
  'History: 45-year-old, smoker, 20 pack-years. Pt: {who}.',
  'Residence: {address}. Discharged home in stable condition.',
  'Portal opened at {url}; dose 25 x 2 Gy, BED 80.',
  'Social security number {ssn}; insurance verified. Calcium score 112.',
  'Herr {who} klagt seit 3 Tagen über Thoraxschmerzen; EKG unauffällig, Troponin negativ.',
  'Überweisung durch {doc}, {site}. Raumforderung 3 x 2 cm im Segment 6.',
  'Antécédents: {who}, fracture du poignet en {date}; ostéosynthèse en place.',
  'El paciente vive en {address}. Se observa derrame pleural leve.',
  'Position: HFS. kVp 120, mAs 80, CTDIvol 4.1 mGy, DLP 152 mGy cm. ID={id}',
  'Images reviewed with {doc} and {stranger} in the tumor board of {date}.',
  'no complaints; {who} ambulatory; knee flexion 0-10-120 degrees',
  'Previous exams: {acc} ({date}), one more at {site} ({date}).',
];

export interface Person {
  /** As PN, all component groups. */
  readonly name: string;
  /** Family and given name in the letters that the text uses. */
  readonly family: string;
  readonly given: string;
  /** The same in the script of the country, where there is one. */
  readonly native?: string;
}

interface Country {
  readonly characterSet: CharacterSetName;
  readonly families: readonly string[];
  readonly givens: readonly string[];
  /** Family and given name as they are written there. */
  readonly natives?: readonly (readonly [family: string, given: string])[];
}

/** Names in use, some of them words of another meaning, which nobody can always tell apart: Long, Young, Stone, Rose, Lunge. */
export const COUNTRIES: readonly Country[] = [
  {
    characterSet: 'utf-8',
    families: (
      'Okonkwo Fitzgerald Abernathy Stone Young Blackwood Hathaway Penhaligon Whitlock Castellano Long Ravenscroft Rose Vanderbilt Kaczmarek Delacroix ' +
      'Oyelaran Featherstone Montague Sinclair Whitfield Chowdhury Srinivasan Abubakar Lundqvist Petrosyan Fairweather Osbourne Hollingsworth Wetherby ' +
      'Mukherjee Kruszewski Tremblay Nakashima Applegate Carmichael Goldschmidt Huffington Ingersoll Jarrow Kensington Lockhart Merriweather Nightingale'
    ).split(' '),
    givens: 'Cornelius Philippa Montgomery Beatrix Thaddeus Rosalind Barnaby Winifred Leopold Gwendolyn'.split(' '),
  },
  {
    characterSet: 'latin-1',
    families: 'Müller-Lüdenscheidt Schäfer Großkopf Öztürk Weißenböck Hövelmann Lunge Jäger Krüger-Thiel Bäumer'.split(
      ' ',
    ),
    givens: 'Jürgen Käthe Björn Änne Gisela Götz Wolfhard Hannelore Sören Ottilie'.split(' '),
  },
  {
    characterSet: 'latin-1',
    families: 'Lefèvre Béranger Châtillon Dubois-Gagné Ibáñez Peñaranda Muñoz Echeverría Françoys Rousselière'.split(
      ' ',
    ),
    givens: 'Éloïse Théophile Hélène José Íñigo Begoña Geneviève Aurélien Concepción Ramón'.split(' '),
  },
  {
    characterSet: 'japanese',
    families: 'Yamada Watanabe Kobayashi Matsumoto Takahashi'.split(' '),
    givens: 'Tarou Hanako Kenichi Sachiko Yoshihiro'.split(' '),
    natives: [
      ['山田', '太郎'],
      ['渡辺', '花子'],
      ['小林', '健一'],
      ['松本', '幸子'],
      ['高橋', '義弘'],
    ],
  },
  {
    characterSet: 'chinese',
    families: 'Zhang Ouyang Zhuge Xiang Huang'.split(' '),
    givens: 'Xiaodong Jingyi Zhongwei Meiling Guoqiang'.split(' '),
    natives: [
      ['张', '小东'],
      ['欧阳', '静怡'],
      ['诸葛', '中伟'],
      ['向', '美玲'],
      ['黄', '国强'],
    ],
  },
  {
    characterSet: 'korean',
    families: 'Hong Namgung Hwangbo Seonwoo Baek'.split(' '),
    givens: 'Gildong Eunjeong Dongwook Minseo Jaehyun'.split(' '),
    natives: [
      ['홍', '길동'],
      ['남궁', '은정'],
      ['황보', '동욱'],
      ['선우', '민서'],
      ['백', '재현'],
    ],
  },
  {
    characterSet: 'cyrillic',
    families: 'Люксембург Щербаков Жуковская Ефремова Хрущёв'.split(' '),
    givens: 'Роза Всеволод Евдокия Аркадий Ярослав'.split(' '),
  },
  {
    characterSet: 'greek',
    families: 'Διονυσίου Παπαδόπουλος Χατζηγεωργίου Ξενάκη Θεοδωράκης'.split(' '),
    givens: 'Διονύσης Ευθυμία Αριστοτέλης Ψυχή Χρυσάνθη'.split(' '),
  },
];

export function person(random: Random, country: Country): Person {
  const index = whole(random, 0, country.families.length - 1);
  const family = country.families[index] ?? '';
  const given = pick(random, country.givens);
  const middle = random.next() < 0.3 ? `^${pick(random, country.givens)}` : '';
  const native = country.natives?.[index];
  if (native === undefined) return { name: `${family}^${given}${middle}`, family, given };
  const romanGiven = country.givens[index] ?? given;
  return {
    name: `${family}^${romanGiven}=${native[0]}^${native[1]}`,
    family,
    given: romanGiven,
    native: `${native[0]}${native[1]}`,
  };
}

/** How a name is written in a text, and the parts of it that must be gone. */
export function written(random: Random, { family, given, native }: Person): { text: string; gone: string[] } {
  const both = [...family.split('-'), given];
  const initial = `${given.slice(0, 1)}.`;
  const forms: readonly { text: string; gone: string[] }[] = [
    { text: `${given} ${family}`, gone: both },
    { text: `${family.toUpperCase()}, ${given.toUpperCase()}`, gone: both },
    { text: `${family}^${given}`, gone: both },
    { text: `${initial} ${family}`, gone: family.split('-') },
    { text: `${family} ${initial}`, gone: family.split('-') },
    { text: `${given.toLowerCase()} ${family.toLowerCase()}`, gone: both },
    { text: swapCase(family), gone: family.split('-') },
    { text: `Mr. ${family}`, gone: family.split('-') },
    { text: `${family}_${given}`, gone: both },
    { text: plain(family), gone: plain(family).split('-') },
    { text: `Mrs ${given} ${family}`, gone: both },
    ...(native === undefined
      ? []
      : [
          { text: native, gone: [native] },
          { text: `${native}様`, gone: [native] },
        ]),
  ];
  return pick(random, forms);
}

function swapCase(text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1).toUpperCase();
}

/** As it is typed on a keyboard that has no such letters. */
function plain(text: string): string {
  const german: Readonly<Record<string, string>> = { ä: 'ae', ö: 'oe', ü: 'ue', Ä: 'Ae', Ö: 'Oe', Ü: 'Ue', ß: 'ss' };
  return [...text]
    .map((letter) => german[letter] ?? letter.normalize('NFD').replaceAll(/[\u0300-\u036f]/g, ''))
    .join('');
}

export const STRANGERS: readonly string[] = [
  'Dr. Quintavalle',
  'Dr Ferdinand Osterhagen',
  'Prof. Dr. Villeneuve-Tremblay',
  'Dr. M. Kowalczyk',
  'Mr. Abdelrahman',
  'Mrs. Okafor-Lindqvist',
  'Dr. med. Zwicklbauer',
  'Herr Niedermaier',
  'Frau Dr. Pfeffermann',
  'Dr. Nguyen',
];

const CITIES = [
  'Springfield',
  'Kirchheim',
  'Clermont',
  'Aberystwyth',
  'Guadalajara',
  'Thunder Bay',
  'Wuppertal',
  'Oshkosh',
];
const STREETS = ['Leawood', 'Magnolia', 'Wisteria', 'Pemberton', 'Old Mill', 'Rockefeller', 'Sunnyvale'];

export function address(random: Random): string {
  const city = pick(random, CITIES);
  return pick(random, [
    `${whole(random, 11, 9999)} ${pick(random, STREETS)} ${pick(random, ['Street', 'Avenue', 'Road', 'Lane', 'Blvd'])}, ${city}, AR ${digits(random, 5)}`,
    `${pick(random, ['Lindenstraße', 'Bahnhofstr.', 'Goethestrasse', 'Kastanienallee'])} ${whole(random, 11, 199)}, ${digits(random, 5)} ${city}`,
    `${whole(random, 11, 199)} rue ${pick(random, ['Voltaire', 'Gambetta', 'Lafayette'])}, ${digits(random, 5)} ${city}`,
  ]);
}

export function site(random: Random): string {
  const city = pick(random, CITIES);
  return pick(random, [
    `${city} Memorial Hospital`,
    `Klinikum ${city}`,
    `St. ${pick(random, ['Bartholomew', 'Wendelin', 'Genevieve'])} Medical Center`,
    `CHU ${city}`,
    `University Hospital ${city}`,
  ]);
}

export function phone(random: Random): string {
  return pick(random, [
    `(${digits(random, 3)}) ${digits(random, 3)}-${digits(random, 4)}`,
    `${digits(random, 3)}-${digits(random, 3)}-${digits(random, 4)}`,
    `+49 ${digits(random, 3)} ${digits(random, 7)}`,
    `+1 ${digits(random, 3)} ${digits(random, 3)} ${digits(random, 4)}`,
    `0${digits(random, 3)}/${digits(random, 6)}`,
    `+33 6 ${digits(random, 2)} ${digits(random, 2)} ${digits(random, 2)} ${digits(random, 2)}`,
  ]);
}

const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
];

/** A day of YYYYMMDD as people write it, and the parts of it that must be gone. */
export function writtenDate(random: Random, day: string): { text: string; gone: string[] } {
  const [year, month, date] = [day.slice(0, 4), day.slice(4, 6), day.slice(6)];
  const name = MONTHS[Number(month) - 1] ?? '';
  const text = pick(random, [
    `${year}-${month}-${date}`,
    `${month}/${date}/${year}`,
    `${date}.${month}.${year}`,
    `${Number(date)}.${Number(month)}.${year}`,
    `${name} ${Number(date)}, ${year}`,
    `${Number(date)} ${name} ${year}`,
    `${date}-${name.slice(0, 3).toUpperCase()}-${year}`,
    `${year}/${month}/${date}`,
    `${date}/${month}/${year.slice(2)}`,
    day,
  ]);
  return { text, gone: [text] };
}

export function mail(random: Random, { family, given }: Person): string {
  const local = /^[\x00-\x7f]*$/.test(family + given) ? `${given}.${family}`.toLowerCase() : `p${digits(random, 6)}`;
  return `${local}@${pick(random, ['mailbox.example.org', 'praxis-nord.de', 'gmail.com', 'hospital.nhs.uk'])}`;
}
