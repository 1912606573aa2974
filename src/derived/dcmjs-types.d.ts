/** The part of dcmjs that is used here; the package has no types of its own. */
declare module 'dcmjs' {
  interface Logger {
    setLevel(level: 'silent', persist: boolean): void;
    getLoggers(): Record<string, Logger>;
  }
  interface DicomDict {
    dict: unknown;
    write(): ArrayBuffer;
  }
  const dcmjs: {
    log: Logger;
    data: {
      DicomDict: new (meta: unknown) => DicomDict;
      DicomMetaDictionary: { denaturalizeDataset(dataset: object): unknown };
    };
  };
  export default dcmjs;
}
