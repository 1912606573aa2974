/** Concepts whose text in a structured report names somebody or something by its nature, PS3.16 (TID 1001 to 1010, 1600). */
import { asciiValue, itemsOf, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';

/** Observers, subjects, devices and procedures by name, number or place: codes of scheme DCM. */
const IDENTIFYING = new Set(
  (
    '110190 111700 111705 111706 111724 113511 113516 113870 113871 113872 113873 113877 113880 121008 121009 121013 121016 121017 121020 121021 ' +
    '121022 121029 121030 121040 121041 121043 121081 121114 121148 121152 121193 121196 121197 121434 128754 128774 128775'
  ).split(' '),
);

/** `item`: a content item. */
export function isIdentifyingConcept(item: DataSet): boolean {
  const [concept] = itemsOf(item, tag('ConceptNameCodeSequence'));
  return concept !== undefined && IDENTIFYING.has(asciiValue(concept, tag('CodeValue')) ?? '');
}
