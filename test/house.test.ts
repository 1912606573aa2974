/** The house of ARCHITECTURE.md: who may import whom, one package in one file, no circles, no rooms without a name. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const src = join(dirname(fileURLToPath(import.meta.url)), '..', 'src');
const files = globSync('**/*.ts', { cwd: src })
  .filter((file) => !file.endsWith('.d.ts'))
  .sort();

/** Floors from the cellar up; a room imports rooms of lower floors, and itself. */
const FLOORS: readonly (readonly string[])[] = [
  ['dicom'],
  ['log', 'database', 'routing', 'access', 'spool', 'release'],
  ['config', 'matching', 'checkpoints'],
  ['derived', 'pipelines', 'codecs', 'dimse', 'archive', 'deidentify', 'workitems', 'audit', 'quarantine'],
  ['delivery'],
  ['gateway'],
  ['workflow'],
  ['dicomweb', 'admin', 'metrics'],
  ['server'],
  ['commands'],
  ['main', 'health'],
];
const NEVERS: readonly (readonly [string, string])[] = [
  ['dicomweb', 'delivery'],
  ['dicomweb', 'deidentify'],
  ['admin', 'delivery'],
  ['admin', 'deidentify'],
  ['delivery', 'archive'],
  ['delivery', 'deidentify'],
  ['delivery', 'derived'],
  ['delivery', 'pipelines'],
];
const EXPRESS_FILES = /^(server\.ts|dicomweb\/|admin\/)/;

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

const imports: Import[] = files.flatMap((file) => {
  const text = readFileSync(join(src, file), 'utf8');
  const stated = [...text.matchAll(/^(import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)'/gms)].map((match) => ({
    from: file,
    to: match[3] ?? '',
    typeOnly: match[2] !== undefined,
  }));
  const later = [...text.matchAll(/await import\('([^']+)'\)/g)].map(([, to = '']) => ({
    from: file,
    to,
    typeOnly: false,
  }));
  return [...stated, ...later];
});
const inside = imports
  .filter(({ to }) => to.startsWith('.'))
  .map((one) => ({ ...one, to: relative(src, normalize(join(src, dirname(one.from), one.to))) }));

function room(file: string): string {
  return (file.split('/')[0] ?? '').replace(/\.ts$/, '');
}

function floorOf(name: string): number {
  return FLOORS.findIndex((floor) => floor.includes(name));
}

test('every file of src stands in a room of the house', () => {
  assert.ok(files.length > 20);
  const strangers = files.filter((file) => floorOf(room(file)) < 0);
  assert.deepEqual(strangers, []);
});

test('imports only lead down', () => {
  const wrong = inside
    .filter(({ from, to }) => room(from) !== room(to) && floorOf(room(to)) >= floorOf(room(from)))
    .map(({ from, to }) => `${from} -> ${to}`);
  assert.deepEqual(wrong, []);
});

test('the nevers hold', () => {
  const wrong = inside
    .filter(({ from, to }) => NEVERS.some(([a, b]) => room(from) === a && room(to) === b))
    .map(({ from, to }) => `${from} -> ${to}`);
  assert.deepEqual(wrong, []);
});

test('no circle of imports between files', () => {
  const edges = new Map<string, string[]>();
  for (const { from, to, typeOnly } of inside) if (!typeOnly) edges.set(from, [...(edges.get(from) ?? []), to]);
  const state = new Map<string, 'open' | 'done'>();
  const circles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      circles.push([...path.slice(path.indexOf(file)), file].join(' -> '));
      return;
    }
    state.set(file, 'open');
    for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
    state.set(file, 'done');
  };
  for (const file of files) visit(file, []);
  assert.deepEqual(circles, []);
});

test('each package is imported in exactly one file, Express only in the doors', () => {
  const users = new Map<string, Set<string>>();
  for (const { from, to } of imports) {
    if (to.startsWith('.') || to.startsWith('node:')) continue;
    const name = to.startsWith('@') ? to.split('/').slice(0, 2).join('/') : (to.split('/')[0] ?? to);
    users.set(name, (users.get(name) ?? new Set()).add(from));
  }
  const express = [...(users.get('express') ?? [])].filter((file) => !EXPRESS_FILES.test(file));
  assert.deepEqual(express, []);
  users.delete('express');
  const spread = [...users]
    .filter(([, where]) => where.size > 1)
    .map(([name, where]) => `${name}: ${[...where].join(', ')}`);
  assert.deepEqual(spread, []);
});

test('the packages fixed by the project are truly imported', () => {
  const named = new Set(imports.map(({ to }) => to));
  for (const name of ['dcmjs', 'dicomweb-client', 'express', 'onnxruntime-node', 'node-cron'])
    assert.ok(named.has(name), name);
});

test('no file or folder is called utils, common, helpers, misc or manager', () => {
  assert.deepEqual(
    files.filter((file) => /(^|[/-])(utils?|common|helpers?|misc|manager)([./-]|$)/.test(file)),
    [],
  );
});
