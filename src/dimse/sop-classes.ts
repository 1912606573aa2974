/** The services beside Verification and Storage: Query/Retrieve (PS3.4 Annex C) and Storage Commitment Push Model (PS3.4 Annex J). */

export type QueryOperation = 'find' | 'move' | 'get';
export type QueryRoot = 'patient' | 'study';

export interface QueryClass {
  readonly root: QueryRoot;
  readonly operation: QueryOperation;
}

/**
 * PS3.6 2024b, Table A-1. The retired Patient/Study Only root (1.2.840.10008.5.1.4.1.2.3.x) and Composite Instance Root Retrieve are
 * not offered: a context for them is answered with "abstract syntax not supported".
 */
export const QUERY_CLASSES: ReadonlyMap<string, QueryClass> = new Map([
  ['1.2.840.10008.5.1.4.1.2.1.1', { root: 'patient', operation: 'find' }],
  ['1.2.840.10008.5.1.4.1.2.1.2', { root: 'patient', operation: 'move' }],
  ['1.2.840.10008.5.1.4.1.2.1.3', { root: 'patient', operation: 'get' }],
  ['1.2.840.10008.5.1.4.1.2.2.1', { root: 'study', operation: 'find' }],
  ['1.2.840.10008.5.1.4.1.2.2.2', { root: 'study', operation: 'move' }],
  ['1.2.840.10008.5.1.4.1.2.2.3', { root: 'study', operation: 'get' }],
]);

/** The SOP Class of an operation at a root. */
export function queryClassUID(root: QueryRoot, operation: QueryOperation): string {
  for (const [uid, known] of QUERY_CLASSES) if (known.root === root && known.operation === operation) return uid;
  throw new Error(`no SOP Class for ${operation} at the ${root} root`);
}

export const STORAGE_COMMITMENT = '1.2.840.10008.1.20.1';
/** Its well-known SOP Instance (PS3.4 J.3.5). */
export const STORAGE_COMMITMENT_INSTANCE = '1.2.840.10008.1.20.1.1';
