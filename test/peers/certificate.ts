/** A self-signed certificate, made by openssl for one test. */
import { spawnSync } from 'node:child_process';

/** False, or why no certificate can be made here. Only a program that is not there counts: one that fails is a failed test. */
export function withoutOpenssl(): string | false {
  return spawnSync('openssl', ['version'], { stdio: 'ignore' }).error === undefined
    ? false
    : 'openssl is not installed';
}

/** Writes key and certificate as PEM. @throws Error with what openssl said */
export function makeCertificate(commonName: string, keyFile: string, certificateFile: string): void {
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const subject = ['-subj', `/CN=${commonName}`, '-keyout', keyFile, '-out', certificateFile];
  const made = spawnSync('openssl', [...request, ...subject], { encoding: 'utf8' });
  if (made.status !== 0) throw new Error(`openssl ended with ${made.status}: ${made.stderr}`);
}
