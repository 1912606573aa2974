// What the intake check found of each received series of a study: what it is, what is odd about it, what was measured.
import { fill, get, row } from './page.js';

const KINDS = {
  image: 'images',
  localizer: 'localizer',
  'screen-save': 'screen save',
  projection: 'projection',
  'no-image': 'no images',
};

export async function showIntake(study) {
  const series = await get(`/api/studies/${study}/intake`);
  const dialog = document.querySelector('#intake');
  const rows = fill('looked', series, 'nothing of this study was received: all its series are results');
  for (const one of rows === undefined ? [] : series)
    row(rows, [named(one), KINDS[one.kind] ?? one.kind, found(one), measured(one)]);
  dialog.showModal();
}

function named({ modality, description, seriesInstanceUID, instances }) {
  const cell = document.createElement('div');
  const title = document.createElement('strong');
  title.textContent = [modality, description].filter((text) => text !== '').join(' ');
  const details = document.createElement('div');
  details.className = 'note';
  details.textContent = `${counted(instances, 'instance')}, ${seriesInstanceUID}`;
  cell.append(title, details);
  return cell;
}

function counted(count, thing) {
  return `${count} ${thing}${count === 1 ? '' : 's'}`;
}

function found({ checked, findings, skipped }) {
  const cell = document.createElement('div');
  if (!checked) cell.textContent = 'not looked at: the study is not complete, or the series could not be read';
  else if (findings.length === 0) cell.textContent = 'nothing odd';
  else cell.append(list(findings));
  if (skipped === '') return cell;
  const told = document.createElement('div');
  told.className = 'note';
  told.textContent = `Passed over: ${skipped}`;
  cell.append(told);
  return cell;
}

function list(sentences) {
  const made = document.createElement('ul');
  made.className = 'found';
  for (const sentence of sentences) {
    const item = document.createElement('li');
    item.textContent = sentence;
    made.append(item);
  }
  return made;
}

/** What is not known is left out: a figure that could not be measured comes as null. */
function measured({ figures, volumes, sampledImages }) {
  if (figures === undefined) return '';
  const number = (value) => Number(value.toPrecision(4));
  const parts = [
    [figures.pixelMm, (value) => `pixels ${number(value)} mm`],
    [figures.spacingMm, (value) => `slices ${number(value)} mm apart`],
    [figures.thicknessMm, (value) => `${number(value)} mm thick`],
    [figures.lowest, (value) => `values ${number(value)} to ${number(figures.highest)}`],
    [figures.mean, (value) => `mean ${number(value)} \u00b1 ${number(figures.deviation)}`],
    [volumes > 1 ? volumes : null, (value) => `${value} volumes`],
    [sampledImages > 0 ? sampledImages : null, (value) => `${counted(value, 'image')} sampled`],
  ];
  return parts
    .filter(([value]) => value !== null)
    .map(([value, say]) => say(value))
    .join(', ');
}
