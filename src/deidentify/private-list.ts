/** Private attributes known to be safe, PS3.15 E.3.10: by creator, group and element byte; the block number is not part of the key. */
import { asciiOf, findElement, itemsOf, numberValues, type DataElement, type DataSet } from '../dicom/data-set.ts';
import { isPrivateCreator, privateCreatorTag, tag } from '../dicom/dictionary.ts';
import { VR_TRAITS, type Vr } from '../dicom/vr.ts';
import type { OverrideFile } from './overrides.ts';

/** One row of config/safe-private.yaml. */
export interface PrivateEntryFile {
  /** `gggg,xxee`. */
  readonly tag: string;
  /** Empty where the table gives none. */
  readonly vr: string;
  readonly meaning: string;
}

/** VR by creator, group and element byte; '' where any binary number will do. */
export type PrivateList = ReadonlyMap<string, Vr | ''>;

type Fault = (path: readonly (string | number)[], sentence: string) => never;

/** undefined when nothing private is ever kept. */
export function compilePrivateList(
  creators: Readonly<Record<string, readonly PrivateEntryFile[]>> | undefined,
  overrides: readonly OverrideFile[],
  fault: Fault,
): PrivateList | undefined {
  const list = new Map<string, Vr | ''>();
  for (const [creator, rows] of Object.entries(creators ?? {})) {
    for (const row of rows) list.set(keyOfText(creator, row.tag) ?? '', row.vr as Vr | '');
  }
  for (const [index, { creator, tag: text, action, vr, when, path }] of overrides.entries()) {
    if (creator === undefined) continue;
    const key = keyOfText(creator, text ?? '');
    if (path !== undefined || key === undefined)
      return fault(['overrides', index, 'tag'], `overrides.${index}.tag with a creator must be (gggg,xxee), gggg odd`);
    if (when !== undefined)
      return fault(['overrides', index, 'when'], `overrides.${index}.when is not for private attributes`);
    if (action === 'X' || action === 'remove') list.delete(key);
    else if (action !== 'K' && action !== 'keep')
      return fault(
        ['overrides', index, 'action'],
        `overrides.${index}.action must be one of K, X for a private attribute`,
      );
    else if (vr === undefined || !(vr in VR_TRAITS))
      return fault(['overrides', index, 'vr'], `overrides.${index}.vr must name the VR of the private attribute`);
    else list.set(key, vr as Vr);
  }
  return list.size === 0 ? undefined : list;
}

function keyOfText(creator: string, text: string): string | undefined {
  const match = /^\(?([0-9a-fA-F]{3}[13579bdfBDF]),xx([0-9a-fA-F]{2})\)?$/.exec(text);
  return match === null
    ? undefined
    : keyOf(creator, Number.parseInt(`${match[1]}`, 16), Number.parseInt(`${match[2]}`, 16));
}

function keyOf(creator: string, group: number, element: number): string {
  return `${creator}\n${group.toString(16)}\n${element.toString(16)}`;
}

/** What of one private group may stay: blocks counted anew from 10, each with its creator. */
export interface KeptBlock {
  readonly creator: string;
  /** Tag of the creator element in the output. */
  readonly creatorTag: number;
  readonly elements: readonly { readonly element: DataElement; readonly tag: number; readonly vr: Vr }[];
}

/** `elements`: those of one odd group, ascending. */
export function keptBlocks(
  list: PrivateList,
  vetoes: Vetoes,
  dataSet: DataSet,
  elements: readonly DataElement[],
): KeptBlock[] {
  const creators = new Map<number, string>();
  const blocks = new Map<number, { creator: string; elements: { element: DataElement; tag: number; vr: Vr }[] }>();
  for (const element of elements) {
    if (isPrivateCreator(element.tag)) {
      creators.set(element.tag, asciiOf(dataSet, element));
      continue;
    }
    const creatorTag = privateCreatorTag(element.tag);
    const creator = creatorTag === undefined ? undefined : creators.get(creatorTag);
    if (creatorTag === undefined || creator === undefined) continue;
    const group = element.tag >>> 16;
    const byte = element.tag & 0xff;
    const listed = list.get(keyOf(creator, group, byte));
    const vr = listed === undefined ? undefined : vrFor(listed, element);
    if (vr === undefined || isVetoed(vetoes, creator, group, byte)) continue;
    const block = blocks.get(creatorTag) ?? { creator, elements: [] };
    blocks.set(creatorTag, block);
    const outBlock = 0x10 + [...blocks.keys()].indexOf(creatorTag);
    block.elements.push({ element, tag: ((element.tag & 0xffff0000) | (outBlock << 8) | byte) >>> 0, vr });
  }
  return [...blocks].map(([creatorTag, { creator, elements: kept }], index) => ({
    creator,
    creatorTag: ((creatorTag & 0xffff0000) | (0x10 + index)) >>> 0,
    elements: kept,
  }));
}

/** The list's VR where the bytes agree or say nothing (UN, Implicit VR). */
function vrFor(listed: Vr | '', element: DataElement): Vr | undefined {
  const encoded = element.vr === 'UN' ? undefined : element.vr;
  if (listed === '') return encoded !== undefined && NUMBERS.has(encoded) ? encoded : undefined;
  return encoded === undefined || encoded === listed ? listed : undefined;
}

const NUMBERS: ReadonlySet<Vr> = new Set(['FD', 'FL', 'SL', 'SS', 'UL', 'US', 'SV', 'UV']);

/** What the object says about its own private blocks, (0008,0300): it can take away from the list, never add to it. */
export type Vetoes = readonly {
  readonly group: number;
  readonly creator: string;
  /** Element bytes that are said to be harmless; undefined: every one that `identifying` does not name. */
  readonly harmless: ReadonlySet<number> | undefined;
  readonly identifying: ReadonlySet<number>;
}[];

const CHARACTERISTICS = tag('PrivateDataElementCharacteristicsSequence');

/** PS3.3 C.12.1.1.7: SAFE, UNSAFE or MIXED blocks. */
export function vetoesOf(dataSet: DataSet): Vetoes {
  return itemsOf(dataSet, CHARACTERISTICS).map((item) => {
    const text = (attribute: number): string => {
      const element = findElement(item, attribute);
      return element === undefined ? '' : asciiOf(item, element);
    };
    const identifying = [
      ...numberValues(item, tag('IdentifyingPrivateElements')),
      ...itemsOf(item, tag('DeidentificationActionSequence')).flatMap((action) =>
        numberValues(action, tag('IdentifyingPrivateElements')),
      ),
    ];
    const isSafe = text(tag('BlockIdentifyingInformationStatus')) === 'SAFE';
    return {
      group: numberValues(item, tag('PrivateGroupReference'))[0] ?? 0,
      creator: text(tag('PrivateCreatorReference')),
      harmless: isSafe ? undefined : new Set(numberValues(item, tag('NonidentifyingPrivateElements'))),
      identifying: new Set(identifying),
    };
  });
}

function isVetoed(vetoes: Vetoes, creator: string, group: number, byte: number): boolean {
  return vetoes.some(
    (veto) =>
      veto.group === group &&
      veto.creator === creator &&
      (veto.identifying.has(byte) || veto.harmless?.has(byte) === false),
  );
}
