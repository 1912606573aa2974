/** Keys and certificates, read and tried before anything opens. */
import { createSecureContext } from 'node:tls';
import { Refusal } from '../dicom/refusal.ts';
import { absolute } from './paths.ts';
import { readText } from './yaml-file.ts';

export interface TlsFiles {
  /** PEM texts. */
  readonly key: string;
  readonly certificate: string;
  readonly authorities: string | undefined;
}

/** Their files, from the configuration folder on. */
export interface TlsNames {
  readonly key: string;
  readonly certificate: string;
  readonly authorities?: string;
}

/** @throws Refusal BadConfiguration where a file is missing or they do not belong together */
export function readTls(names: TlsNames, folder: string): TlsFiles {
  const files = {
    key: readPem(names.key, folder),
    certificate: readPem(names.certificate, folder),
    authorities: names.authorities === undefined ? undefined : readPem(names.authorities, folder),
  };
  try {
    createSecureContext({ key: files.key, cert: files.certificate, ca: files.authorities });
  } catch {
    throw new Refusal(
      'BadConfiguration',
      `${names.key}, ${names.certificate}${names.authorities === undefined ? '' : ` and ${names.authorities}`} are no PEM files that belong together`,
    );
  }
  return files;
}

/** @throws Refusal BadConfiguration */
export function readPem(name: string, folder: string): string {
  return readText(absolute(name, folder));
}
