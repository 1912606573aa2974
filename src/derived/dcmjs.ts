/**
 * The one place that knows dcmjs: it builds what objects without pixels say, from attributes by name. What is copied from a source
 * does not pass through it: it rewrites values, and its errors and loggers repeat them.
 */
import dcmjs from 'dcmjs';

/** Attributes by keyword as dcmjs calls natural: sequences are lists of the same, bulk values ArrayBuffers. */
export interface Natural {
  readonly [keyword: string]:
    string | number | ArrayBuffer | readonly string[] | readonly number[] | readonly Natural[];
}

/** A Part 10 object in Explicit VR LE and UTF-8 with these attributes. */
export function encodeNatural(attributes: Natural): Buffer {
  silence();
  const { DicomDict, DicomMetaDictionary } = dcmjs.data;
  const object = new DicomDict(
    DicomMetaDictionary.denaturalizeDataset({
      FileMetaInformationVersion: new Uint8Array([0, 1]).buffer,
      TransferSyntaxUID: '1.2.840.10008.1.2.1',
    }),
  );
  object.dict = DicomMetaDictionary.denaturalizeDataset({ SpecificCharacterSet: 'ISO_IR 192', ...attributes });
  return Buffer.from(object.write());
}

/** dcmjs prints attribute values at warn level; loggers are made as it goes, so this is done each time. */
function silence(): void {
  dcmjs.log.setLevel('silent', false);
  for (const logger of Object.values(dcmjs.log.getLoggers())) logger.setLevel('silent', false);
}
