/** What can be done to an attribute: the letters of Table E.1-1 and what a profile may say beyond them. */

/** A cell of the table's Basic Profile column. */
export type BasicAction = 'D' | 'Z' | 'X' | 'U' | 'Z/D' | 'X/Z' | 'X/D' | 'X/Z/D' | 'X/Z/U*';

/**
 * What is done to one attribute. `walk`: keep the sequence, act inside. `code`: one dummy code. `keep` (K) and `clean` (C) fall back on
 * a letter where the value is not what its VR says or nothing of it is left. `owner`: of an animal. `remove`: also where the IOD wants it. The others are the
 * table's letters.
 */
export type Rule =
  | { readonly action: BasicAction }
  | { readonly action: 'walk' }
  | { readonly action: 'code' }
  | { readonly action: 'keep'; readonly otherwise: BasicAction }
  | { readonly action: 'clean'; readonly otherwise: BasicAction }
  | { readonly action: 'remove' }
  | { readonly action: 'replace'; readonly value: string }
  | { readonly action: 'date'; readonly otherwise: BasicAction }
  | { readonly action: 'zone'; readonly otherwise: BasicAction }
  | { readonly action: 'age' }
  | { readonly action: 'birth-date' }
  | { readonly action: 'patient-name' }
  | { readonly action: 'patient-id' }
  | { readonly action: 'word' }
  | { readonly action: 'owner' };
