// Makes the tables of this folder from published extractions of the standard; README.md names sources and editions.
//
//   node src/dicom/standard/generate.mjs dictionary      <_dicom_dict.py> <attributes.json>
//   node src/dicom/standard/generate.mjs e1-1            <confidentiality_profile_attributes.json> <attributes.json>
//   node src/dicom/standard/generate.mjs uids            <_uid_dict.py> <sops.json> <ciod_to_modules.json> <DicomUIDGenerated.cs>
//   node src/dicom/standard/generate.mjs attribute-types <sop_class_iod_map.json> <iod_module_map.json> <module_attribute_map.json>
import { readFileSync, writeFileSync } from 'node:fs';

const [table, ...sources] = process.argv.slice(2);
const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));
const makers = { dictionary, 'e1-1': confidentialityProfile, uids, 'attribute-types': attributeTypes };
if (!(table in makers) || sources.length === 0) {
  console.error(`usage: node generate.mjs ${Object.keys(makers).join('|')} <source ...>`);
  process.exit(2);
}
makers[table](...sources);

/** Head fields one by one, then one row a line, so that a change of edition shows as changed lines. */
function writeTable(name, head, rows) {
  const lines = Object.entries(head).map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)}`);
  const text = `{\n${lines.join(',\n')},\n  "rows": [\n${rows.map((row) => `    ${JSON.stringify(row)}`).join(',\n')}\n  ]\n}\n`;
  writeFileSync(new URL(`./${name}.json`, import.meta.url), text);
  console.log(`${name}.json: ${rows.length} rows, ${text.length} bytes`);
}

/** The rows `key: (text, text, text, text, text)` of a Python dictionary. */
function readPythonRows(path, key) {
  const text = String.raw`'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"`;
  const line = new RegExp(`^\\s*${key}: \\(${Array(5).fill(`(?:${text})`).join(', ')}\\)`);
  const rows = [];
  for (const source of readFileSync(path, 'utf8').split('\n')) {
    const match = line.exec(source);
    if (match === null) continue;
    const [first, ...groups] = match.slice(1);
    rows.push([first, ...[0, 2, 4, 6, 8].map((i) => (groups[i] ?? groups[i + 1] ?? '').replaceAll("\\'", "'"))]);
  }
  return rows;
}

/**
 * PS3.6 sections 6 to 8. Left out: numbers that were never assigned, item delimiters (neither has a VR) and the
 * command group (PS3.7 Annex E). Attributes of the second source that the first does not have are added.
 */
function dictionary(dictionaryPath, attributesPath) {
  const rows = new Map();
  for (const row of readJson(attributesPath)) {
    const { id, keyword, valueRepresentation: vr, valueMultiplicity: vm, retired, name } = row;
    rows.set(id.toUpperCase().replaceAll('X', 'x'), [keyword, vr, vm, retired === 'Y' ? 1 : 0, name]);
  }
  for (const [tag, vr, vm, name, retired, keyword] of readPythonRows(dictionaryPath, `(?:0x|')([0-9A-Fa-fx]{8})'?`)) {
    rows.set(tag.toUpperCase().replaceAll('X', 'x'), [keyword, vr, vm, retired === '' ? 0 : 1, name]);
  }
  const kept = [...rows].filter(
    ([tag, [, vr, , , name]]) =>
      /^[A-Z]{2}( or [A-Z]{2})*$/.test(vr) && !tag.startsWith('0000') && name !== 'Retired-blank',
  );
  writeTable(
    'dictionary-2024d',
    {
      title: 'PS3.6 Registry of DICOM Data Elements, File Meta Elements and Directory Structuring Elements',
      edition: '2024d',
      columns: ['tag, x for any digit', 'keyword', 'VR', 'VM', 'retired', 'name'],
    },
    kept.map(([tag, cells]) => [tag, ...cells]).sort((a, b) => (a[0] < b[0] ? -1 : 1)),
  );
}

/** PS3.15 Table E.1-1. An option that leaves the row's basic action as it is has no key in the row. */
function confidentialityProfile(profilePath, attributesPath) {
  const vrs = new Map(readJson(attributesPath).map((row) => [row.id.toLowerCase(), row]));
  const options = {
    rtnSafePrivOpt: 'retainSafePrivate',
    rtnUIDsOpt: 'retainUIDs',
    rtnDevIdOpt: 'retainDeviceIdentity',
    rtnInstIdOpt: 'retainInstitutionIdentity',
    rtnPatCharsOpt: 'retainPatientCharacteristics',
    rtnLongFullDatesOpt: 'retainLongitudinalFullDates',
    rtnLongModifDatesOpt: 'retainLongitudinalModifiedDates',
    cleanDescOpt: 'cleanDescriptors',
    cleanStructContOpt: 'cleanStructuredContent',
    cleanGraphOpt: 'cleanGraphics',
  };
  const patterns = { '50xxxxxx': '50xxxxxx', 'ggggeeee-where-gggg-is-odd': 'private' };
  const rows = readJson(profilePath).map((row) => {
    const known = vrs.get(row.id.toLowerCase());
    const out = {
      tag: patterns[row.id] ?? row.id.toUpperCase().replaceAll('X', 'x'),
      keyword: known?.keyword ?? '',
      name: row.name
        .replace(/\(see Note \d+\)/, '')
        .replaceAll(/\s+/g, ' ')
        .trim(),
      vr: known?.valueRepresentation ?? '',
      retired: (known?.retired ?? 'N') === 'Y',
      inStandardIOD: row.stdCompIOD === 'Y',
      basic: row.basicProfile,
    };
    for (const [from, to] of Object.entries(options))
      if (row[from] !== undefined && row[from] !== '') out[to] = row[from];
    return out;
  });
  writeTable(
    'e1-1-2024b',
    {
      title: 'PS3.15 Table E.1-1 Application Level Confidentiality Profile Attributes',
      edition: '2024b',
      source: 'innolitics/dicom-standard 7f4749d09ed3ef2fa70637d376d423a4b13523cd, MIT, notice in README.md',
      actions: {
        D: 'replace with a non-zero length dummy value',
        Z: 'replace with a zero length value, or a dummy value',
        X: 'remove',
        K: 'keep, or clean',
        C: 'clean: replace with values of similar meaning known not to contain identifying information',
        U: 'replace with a UID that is consistent within a set of instances',
        'Z/D': 'Z unless D is required by the type of the attribute in the IOD',
        'X/Z': 'X unless Z is required by the type',
        'X/D': 'X unless D is required by the type',
        'X/Z/D': 'X unless Z or D is required by the type',
        'X/Z/U*': 'X unless Z or replacement of contained instance UIDs is required by the type',
      },
    },
    rows,
  );
}

/**
 * PS3.6 Annex A: every registered UID, context groups (table A-3) from a source of their own; and which SOP Classes store what. `image`: the IOD of table B.5-1 of PS3.4 has
 * one of the pixel data modules. Retired classes and those of later editions have no row there and go by their name.
 */
function uids(uidDictionaryPath, sopsPath, modulesPath, contextGroupsPath) {
  const pixelModules = ['image-pixel', 'floating-point-image-pixel', 'double-floating-point-image-pixel'];
  const withPixels = new Set(
    readJson(modulesPath)
      .filter((row) => pixelModules.includes(row.moduleId))
      .map((row) => row.ciodId),
  );
  const iods = new Map(readJson(sopsPath).map((row) => [row.id, row.ciod]));
  const storage = (uid, type, name) => {
    // A directory is never sent, a stored print is no instance of a patient's study.
    if (/^(Media Storage Directory|Stored Print) /.test(name)) return '';
    const iod = iods.get(uid);
    if (iod !== undefined) return withPixels.has(slug(iod)) ? 'image' : 'other';
    if (type !== 'SOP Class' || !/\bStorage\b(?! Commitment| Service)/.test(name)) return '';
    return /\bImage\b|(Label|Height) Map Segmentation|DICOS .* AIT/.test(name) ? 'image' : 'other';
  };
  const rows = readPythonRows(uidDictionaryPath, `'([\\d.]+)'`).map(([uid, name, type, , retired, keyword]) => [
    uid,
    keyword,
    type,
    retired === '' ? 0 : 1,
    name,
    storage(uid, type, name),
  ]);
  const contextGroup = /"([\d.]+)", "(.*?)", DicomUidType\.ContextGroupName, (true|false)/g;
  for (const [, uid, name, retired] of readFileSync(contextGroupsPath, 'utf8').matchAll(contextGroup)) {
    rows.push([uid, '', 'Context Group', retired === 'true' ? 1 : 0, name, '']);
  }
  const missing = [...iods.keys()].filter((uid) => !rows.some((row) => row[0] === uid));
  if (missing.length > 0) throw new Error(`storage SOP Classes without registry row: ${missing.join(' ')}`);
  writeTable(
    'uids-2024d',
    {
      title: 'PS3.6 Annex A Registry of DICOM Unique Identifiers; storage from PS3.4 table B.5-1 and PS3.3 (2024b)',
      edition: '2024d',
      columns: ['uid', 'keyword', 'type', 'retired', 'name', 'storage: image, other or empty'],
    },
    rows,
  );
}

function slug(name) {
  return name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '');
}

/**
 * PS3.3: the type of each attribute of each module, nested ones too. Items that are alike (code sequences above all)
 * are stored once: a module is a node, a node maps a tag to its type and, for a sequence, the node of its items.
 */
function attributeTypes(sopClassesPath, iodsPath, modulesPath) {
  const tags = new Map();
  const dictionaryFile = new URL('./dictionary-2024d.json', import.meta.url);
  for (const [tag, keyword] of readJson(dictionaryFile).rows) tags.set(keyword, tag);
  const unknown = new Set();
  const nodes = new Map();
  const intern = (tree) => {
    const node = {};
    for (const [tag, { type, items }] of [...tree].sort(([a], [b]) => (a < b ? -1 : 1))) {
      node[tag] = items.size === 0 ? type : `${type}:${intern(items)}`;
    }
    const key = JSON.stringify(node);
    if (!nodes.has(key)) nodes.set(key, nodes.size);
    return nodes.get(key);
  };
  const modules = {};
  for (const [name, attributes] of Object.entries(readJson(modulesPath))) {
    const root = new Map();
    for (const { keyword, type, path } of attributes) {
      const steps = [...path, keyword].map((step) => tags.get(step));
      if (steps.includes(undefined)) {
        unknown.add(keyword);
        continue;
      }
      let level = root;
      for (const [depth, tag] of steps.entries()) {
        const last = depth === steps.length - 1;
        const entry = level.get(tag) ?? { type: '3', items: new Map() };
        // Where a module has an attribute twice (once for each condition) the stricter type holds.
        if (last && /^[123]C?$/.test(type ?? '') && type < entry.type) entry.type = type;
        level.set(tag, entry);
        level = entry.items;
      }
    }
    modules[name] = intern(root);
  }
  const iods = {};
  for (const [name, list] of Object.entries(readJson(iodsPath))) {
    iods[name] = list.map(({ key }) => modules[key]).filter((node) => node !== undefined);
  }
  const sopClasses = readJson(sopClassesPath);
  if (unknown.size > 0) console.log(`without a tag in the dictionary: ${[...unknown].join(' ')}`);
  writeTable(
    'attribute-types-2026b',
    {
      title: 'PS3.3 Annex A and C: modules of each IOD, types of their attributes',
      edition: '2026b',
      columns: 'rows are nodes: tag -> type, or type:node for a sequence; an IOD is the nodes of its modules',
      sopClasses,
      iods,
    },
    [...nodes.keys()].map((key) => JSON.parse(key)),
  );
}
