/**
 * Clean Structured Content (PS3.15 E.3.5) of an encapsulated Clinical Document (HL7 CDA R2): names, addresses and telecommunication are
 * masked wherever they stand, identifiers mapped, times treated as the object's dates are, texts cleaned as every other text. What the
 * schema does not know goes; what holds another document inside is refused.
 */
import { Refusal } from '../dicom/refusal.ts';
import type { Said } from './identity.ts';
import { decodeXml, formatXml, parseXml, XmlFault, type XmlElement } from './xml.ts';

/** What the profile does with texts, times and identifiers. */
export interface DocumentTools {
  readonly clean: (text: string) => string;
  /** YYYYMMDDHHMMSS+ZZZZ, as far as it goes; undefined: it goes. */
  readonly time: (value: string) => string | undefined;
  readonly uid: (uid: string) => string;
  /** An identifier that its assigner gave, made another's. */
  readonly identifier: (root: string, extension: string) => string;
  readonly retainsPatient: boolean;
}

export type ClinicalDocument = XmlElement;

const MOST_BYTES = 16 * 2 ** 20;

/** @throws Refusal Quarantined */
export function readClinicalDocument(bytes: Buffer): ClinicalDocument {
  return orQuarantine(() => {
    if (bytes.length > MOST_BYTES) throw new XmlFault('more bytes than are looked through', MOST_BYTES);
    const root = parseXml(decodeXml(bytes));
    if (localName(root) !== 'ClinicalDocument') throw new XmlFault('no ClinicalDocument', 0);
    return root;
  });
}

/** UTF-8, well-formed. @throws Refusal Quarantined */
export function cleanClinicalDocument(document: ClinicalDocument, tools: DocumentTools): Buffer {
  return orQuarantine(() => {
    const cleaned = Buffer.from(formatXml(cleanElement(document, tools, '')), 'utf8');
    // What we write is what every parser reads.
    parseXml(decodeXml(cleaned));
    return cleaned;
  });
}

function orQuarantine<Result>(work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof XmlFault)) throw error;
    throw new Refusal('Quarantined', `the encapsulated document is no CDA that can be cleaned: ${error.message}`);
  }
}

/** Of whom and of what a document speaks, by the attribute of DICOM that says the same. */
export function saysOf(document: ClinicalDocument): Said {
  const said: [string, string][] = [];
  const note = (keyword: string, text: string): void => {
    const plain = text.replaceAll(/[\\\s]+/g, ' ').trim();
    if (plain !== '' && plain.length <= 200) said.push([keyword, plain]);
  };
  const visit = (element: XmlElement, parent: string): void => {
    const name = localName(element);
    const { attributes } = element;
    if (name === 'name' && !NAMED_THINGS.has(parent))
      note(/Organization|Facility|place/i.test(parent) ? 'InstitutionName' : 'OperatorsName', textIn(element));
    else if (name === 'addr') note('PatientAddress', textIn(element));
    else if (name === 'telecom')
      note('PatientTelephoneNumbers', (attributes.get('value') ?? '').replace(/^[a-z]+:/i, ''));
    else if (name === 'id' || name === 'setId') note('OtherPatientIDs', attributes.get('extension') ?? '');
    else if (name === 'birthTime') note('PatientBirthDate', (attributes.get('value') ?? '').slice(0, 8));
    for (const child of element.children) if (typeof child !== 'string') visit(child, name);
  };
  visit(document, '');
  return said;
}

function textIn({ children }: XmlElement): string {
  return children.map((child) => (typeof child === 'string' ? child : textIn(child))).join(' ');
}

/** Whose `name` is that of a thing. */
const NAMED_THINGS = new Set(['manufacturedLabeledDrug', 'manufacturedMaterial', 'playingEntity', 'playingDevice']);

const words = (text: string): ReadonlySet<string> => new Set(text.split(/\s+/));

/** Masked whole: parts of names and addresses (HL7 data types EN, AD, TEL) and what tells who somebody is. */
const MASKED = words(
  'name addr telecom asOrganizationPartOf asPatientRelationship birthTime birthplace guardian signatureText thumbnail ' +
    'deceasedTime deceasedInd multipleBirthInd multipleBirthOrderNumber asPatientOfVeterinarian',
);
/** Characteristics of a patient (Retain Patient Characteristics). */
const CHARACTERISTICS = words(
  'administrativeGenderCode maritalStatusCode religiousAffiliationCode raceCode ethnicGroupCode languageCommunication',
);
/** Structure of CDA R2 (POCD_HD000040) and its narrative block: only these may stay. */
const KNOWN = words(
  `ClinicalDocument realmCode typeId templateId id code title effectiveTime confidentialityCode languageCode setId versionNumber copyTime
   recordTarget patientRole patient providerOrganization author time assignedAuthor assignedPerson assignedAuthoringDevice
   representedOrganization dataEnterer assignedEntity informant relatedEntity relatedPerson custodian assignedCustodian
   representedCustodianOrganization informationRecipient intendedRecipient receivedOrganization legalAuthenticator authenticator signatureCode
   participant associatedEntity associatedPerson scopingOrganization inFulfillmentOf order priorityCode documentationOf serviceEvent performer
   functionCode relatedDocument parentDocument authorization consent statusCode componentOf encompassingEncounter dischargeDispositionCode
   responsibleParty encounterParticipant location healthCareFacility serviceProviderOrganization component structuredBody section text entry
   subject specimen specimenRole specimenPlayingEntity act encounter observation observationMedia observationRange organizer procedure
   regionOfInterest substanceAdministration supply value interpretationCode methodCode targetSiteCode approachSiteCode repeatNumber
   routeCode doseQuantity rateQuantity maxDoseQuantity administrationUnitCode quantity independentInd expectedUseTime consumable
   manufacturedProduct manufacturedLabeledDrug manufacturedMaterial product referenceRange precondition criterion reference
   externalAct externalDocument externalObservation externalProcedure entryRelationship sequenceNumber seperatableInd uncertainTime
   originalText translation qualifier low high center width numerator denominator period phase manufacturerModelName softwareName
   playingEntity playingDevice participantRole relatedSubject standardIndustryClassCode languageCommunication modeCode proficiencyLevelCode
   preferenceInd desc maintainedEntity maintainingPerson administrativeGenderCode maritalStatusCode religiousAffiliationCode raceCode ethnicGroupCode
   content paragraph br table thead tbody tfoot tr th td col colgroup caption list item sub sup linkHtml renderMultiMedia footnote footnoteRef
   ${[...MASKED].join(' ')}`,
);
const STRUCTURE = words(
  'classCode moodCode typeCode determinerCode contextControlCode contextConductionInd negationInd inversionInd nullFlavor operator inclusive ' +
    'unit listType border cellpadding cellspacing colspan rowspan align valign span width rules frame scope revised partType use mediaType',
);
/** Whose `code` needs no system: fixed by the schema. */
const OWN_CODES = words('realmCode statusCode languageCode priorityCode');
const NAMESPACES = /^(urn:hl7-org:(v3|sdtc|v3\/voc)|http:\/\/www\.w3\.org\/[A-Za-z0-9/-]{1,40})$/;
/** LOINC, SNOMED CT, ICD, UCUM, RadLex and HL7's own; DICOM's. */
const PUBLIC_SYSTEM =
  /^(2\.16\.840\.1\.113883\.(5|6)\.\d+(\.\d+)*|2\.16\.840\.1\.113883\.11\.\d+|1\.2\.840\.10008\.2\.(16|6)\.\d+(\.\d+)*)$/;
const TEMPLATE_EXTENSION = /^(POCD_HD000040|\d{4}-\d\d-\d\d)$/;

function localName({ name }: XmlElement): string {
  return name.slice(name.indexOf(':') + 1);
}

function cleanElement(element: XmlElement, tools: DocumentTools, parent: string): XmlElement {
  const name = localName(element);
  if (name === 'nonXMLBody' || element.attributes.get('representation') === 'B64')
    throw new XmlFault('a document inside the document', 0);
  const attributes = cleanAttributes(element, name, tools);
  const isThing = name === 'name' && NAMED_THINGS.has(parent);
  if ((MASKED.has(name) && !isThing) || (CHARACTERISTICS.has(name) && !tools.retainsPatient)) {
    return { name: element.name, attributes: new Map([['nullFlavor', 'MSK']]), children: [] };
  }
  const children: (XmlElement | string)[] = [];
  for (const child of element.children) {
    if (typeof child === 'string') children.push(cleanText(child, tools));
    else if (KNOWN.has(localName(child)) || localName(child) === 'nonXMLBody')
      children.push(cleanElement(child, tools, name));
  }
  return { name: element.name, attributes, children };
}

/** Blanks between elements and around words stay where they are. */
function cleanText(text: string, { clean }: DocumentTools): string {
  if (text.trim() === '') return text;
  const [, before = '', middle = '', behind = ''] = /^(\s*)([\s\S]*?)(\s*)$/.exec(text) ?? [];
  return before + clean(middle) + behind;
}

function cleanAttributes(element: XmlElement, name: string, tools: DocumentTools): Map<string, string> {
  const given = element.attributes;
  const kept = new Map<string, string>();
  for (const [key, value] of given) {
    if (key === 'xmlns' || key.startsWith('xmlns:')) {
      if (!NAMESPACES.test(value)) throw new XmlFault('a namespace that is not known', 0);
      kept.set(key, value);
    } else if (key === 'xsi:type' && /^[A-Za-z_0-9:]{1,30}$/.test(value)) kept.set(key, value);
    else if (STRUCTURE.has(key) && /^[A-Za-z0-9%./{}\[\]*^-]{1,30}$/.test(value) && tools.clean(value) === value)
      kept.set(key, value);
    // Targets of references inside the document.
    else if (key === 'ID' || key === 'styleCode' || key === 'referencedObject' || key === 'IDREF') {
      if (/^[A-Za-z_][A-Za-z0-9_.-]{0,40}( [A-Za-z0-9_.-]{1,40}){0,5}$/.test(value) && tools.clean(value) === value)
        kept.set(key, value);
    }
  }
  keepIdentifier(given, name, kept, tools);
  keepCode(given, name, kept, tools);
  keepValue(given, name, kept, tools);
  return kept;
}

function keepIdentifier(
  given: XmlElement['attributes'],
  name: string,
  kept: Map<string, string>,
  tools: DocumentTools,
): void {
  const root = given.get('root');
  if (root === undefined) return;
  const extension = given.get('extension');
  if (name === 'templateId' || name === 'typeId') {
    // Templates are HL7's and its members'; a house's own would tell the house.
    if (/^(2\.16\.840\.1\.113883|1\.2\.840\.10008|1\.3\.6\.1\.4\.1\.19376)(\.\d+)*$/.test(root)) kept.set('root', root);
    else kept.set('nullFlavor', 'MSK');
    if (kept.has('root') && extension !== undefined && TEMPLATE_EXTENSION.test(extension))
      kept.set('extension', extension);
  } else kept.set('root', extension === undefined ? tools.uid(root) : tools.identifier(root, extension));
}

function keepCode(
  given: XmlElement['attributes'],
  name: string,
  kept: Map<string, string>,
  { clean }: DocumentTools,
): void {
  const code = given.get('code');
  const system = given.get('codeSystem');
  const isPublic = system !== undefined && PUBLIC_SYSTEM.test(system);
  if (isPublic) kept.set('codeSystem', system);
  const isPlain = code !== undefined && /^[A-Za-z0-9.:_-]{1,32}$/.test(code);
  if (isPlain && (isPublic || OWN_CODES.has(name))) kept.set('code', code);
  else if (code !== undefined && !kept.has('nullFlavor')) kept.set('nullFlavor', 'MSK');
  for (const key of ['displayName', 'codeSystemName']) {
    const text = given.get(key);
    if (text === undefined || (key === 'codeSystemName' && !isPublic)) continue;
    const cleaned = clean(text);
    if (cleaned !== '') kept.set(key, cleaned);
  }
}

const OLDEST_YEARS = 90;

/** Numbers stay, times are the profile's, links lead only into the document. */
function keepValue(
  given: XmlElement['attributes'],
  name: string,
  kept: Map<string, string>,
  { time, clean }: DocumentTools,
): void {
  const value = given.get('value');
  if (value === undefined) return;
  const isTime = !given.has('unit') && /^\d{8}(\d{2,6}(\.\d{1,6})?)?([+-]\d{4})?$|^\d{12,14}/.test(value);
  const isYear = /(time|low|high|center)$/i.test(name) && !given.has('unit');
  let left: string | undefined;
  if (isTime || isYear) left = time(value);
  else if (/^[+-]?\d{1,7}(\.\d{1,12})?$/.test(value))
    left =
      /^(a|yr|y|years?)$/i.test(given.get('unit') ?? '') && Number(value) >= OLDEST_YEARS
        ? String(OLDEST_YEARS)
        : value;
  else if (value === 'true' || value === 'false') left = value;
  else if (name === 'reference' && /^#[A-Za-z0-9_.-]{1,40}$/.test(value) && clean(value) === value) left = value;
  if (left === undefined) kept.set('nullFlavor', 'MSK');
  else kept.set('value', left);
}
