/** Results of study searches as text, kept until their study changes: worklists ask for the same ones again and again. */
import type { Database } from '../database.ts';

interface Ready {
  readonly version: number;
  readonly form: string;
  readonly text: string;
}

const MOST_KEPT = 2048;
const MOST_CHARACTERS = 4096;

const kept = new WeakMap<Database, Map<string, Ready>>();

/** `form`: which attributes the result shows. `make` is called when the study, at this version, is not kept in that form. */
export function readyResult(
  database: Database,
  study: { readonly uid: string; readonly version: number },
  form: string,
  make: () => string,
): string {
  const results = kept.get(database) ?? new Map<string, Ready>();
  kept.set(database, results);
  const known = results.get(study.uid);
  if (known?.version === study.version && known.form === form) return known.text;
  const text = make();
  results.delete(study.uid);
  if (text.length > MOST_CHARACTERS) return text;
  results.set(study.uid, { version: study.version, form, text });
  for (const oldest of results.keys()) {
    if (results.size <= MOST_KEPT) break;
    results.delete(oldest);
  }
  return text;
}
