/** Words that describe an examination and no person. */
import { readFileSync } from 'node:fs';
import { fold } from './words.ts';

/** What the names of the standard lack: shorthand of protocols and the small words of a report. */
const OWN = `
  routine library libraries program protocols exam exams clinical sequences general dotengine head hirntumor spect ivus
  read reads reading reader seen see saw look looks made make makes take taken took give given gave go going gone come came get got keep kept show
  about above across after again against all almost along already also although always among another anything around away back because become before
  begin behind being below beneath beside besides better beyond big both bottom bring broad but call called care carefully change changed changes check
  clearly close closer common complete completely concern concerning consider considered continue cover current currently date define demonstrate
  demonstrated demonstrates demonstrating describe described despite detail detailed determine develop developed different difficult direct directly
  discuss does done down during early easily either else end enough entire entirely especially even ever every everything exact example except expect
  expected explain extend extending extends extensive far feature features feel felt fewer fine first follow found four five six seven eight nine ten
  frequent front full fully further general good great greater group grow growing grown half hard head help here high highly hold how however identify
  identified image images immediate important improve improved include included includes including indicate indicated indicates instead interpretation
  interval keep kind know known large larger largest last later lead least leave letter lie lies lightly limit line list little live lives long longer
  main mainly major many mark marked markedly matter may mean means measure measured measures measuring meet mention middle might minor minimal minimally
  minimum missing near nearly necessary need never next non nonspecific nothing notable number numerous obtain obtained occur often old only open order
  outside overall overlying own part partial partially particular partly pass past people perform perhaps person place point possible possibly present
  presented presenting presents prevent problem process provide provided question quite raise raised range rather reach ready real reason recommend
  recommended recommendation reduce reduced regard region related relative relatively remain remains remaining remove removed repeat represent
  represents require required result results return reveal revealed right same say scattered second seem seems send separate set several shall should
  side similar simple single size slight slightly slow somewhat soon space start state stay step stop strong sudden suddenly sure surrounding suspect
  suspected suspicion suspicious symptom symptoms system take tell tend term test third thought three together too total toward towards track tract
  treat treated treatment trial try turn twice type typical unable under underlying unit unless unlikely until upon use used using usual usually value
  variant various version visible visualized visit want warrant warranted wide widely widening within worse worsening worst yes yet
  stroke pain cough fever fall trauma injury injured acute chronic benign malignant cancer tumors mass masses lesion lesions nodule nodules cyst cysts
  fracture fractures hemorrhage haemorrhage bleed bleeding infarct infarction ischemia edema oedema swelling infection inflammation pneumonia atelectasis
  consolidation opacity opacities emphysema fibrosis pneumothorax hernia stenosis occlusion thrombus embolism dissection calcification calcifications
  metastasis metastases lymphoma carcinoma adenopathy enlarged enlargement degenerative arthritis osteophyte osteoarthritis dislocation scoliosis screen
  annual smoker smoking diabetes hypertension surgery surgical postoperative preoperative resection transplant catheter drain line lines tubes wire wires
  clips staples sutures pacemaker defibrillator prosthesis implant implants stent stents graft grafts
  coerce coerced correct corrected
  referred referral reported reviewed discussed dictated performed requested
  a an and any are as at be been between by can clear compared comparison could do does due each few for from had has have if in increased
  decreased into is it its just less likely maybe mild mildly mm moderate moderately more most much multiple new no none normal not noted now of off on once one or
  other out over per previous prior probably recent recently seen several severe severely she he his her him they their shows show shown since
  small so some stable still such suggest suggested suggests than that the then there these this those three through to today two under
  unchanged unremarkable up upper very was well were when where which while who with within without would history follow followup patient
  abd abdo adc angio ap apical apa asl ax axial bh bilat bilateral blade bold bone bones brain bravo breath brst bx calc cap cbct cbf cbv ce cect cemr
  ceus chest cine cmr cns contrast cor cora coronal cr csf cspine ct cta ctpa ctv cube cv cxr dce delayed dicom diff diffusion dir dixon dki dme dot
  dsa dsc dti dual dwi dx dyn dynamic ebl ecg echo ed eeg ekg eob epi eq erect exp expiration fa fast fast3d fatsat fb fdg ff ffe ffs fgre fiesta fisp flair flash
  flex fluoro fmri fov fs fse fused fusion gad gado gadavist gadovist gd gnd gre grase grid gtv hase hd helical hip hips hires hr hrct hu iac iliac
  in inhale insp inspiration inplane iso isotropic iv ivim ivp kernel kidneys knee kub lao lat lava lavaflex ld le left less limited liver ll loc localiser
  localizer localizers long low lower lpo lt lumbar lung lungs ma mammo map mapping maps mas max mcc mdct medium mip mips ml mlo molli mp mpr mprage mpr mpgr mr mra mrcp mri
  mrs mrv mtc multi multiphase myelo nac navi neck nm noncon nonenhanced nonc obl oblique opp oral orbit orbits oss ost out pa pc pca pd pdw pelvis perf
  perfusion pet petct phase phases phs pilot plain plan plus port portable portal post pre prone propeller pros prostate pv qa qc quick rao ra radial range rapid raw rcc rec
  recon reconstruction reformat reformats reg registered repeat res resol rest rest2 rf rl rmlo rpo rs rt rtdose rtplan rtstruct sag sagittal scan scanogram scano scout scouts
  screening seg segmentation sense seq series set shot shoulder sinus skull slab slice slices smart soft spair spc spgr spin spine spir spiral ss ssfp ssfse
  stacks standard std stir stress study sub subtracted subtraction supine surview swan swi t te tfe tfl thick thin thins thorax thrive time tirm tof topo
  topogram tr tra trace trans transverse trufi truefisp tse tumor tumour turbo us vasc venous vent vibe vista views volume vol vrt vs view wb weighted wfs whole wholebody wo
  wrist x xr xp xray yd neg pos negative positive abnormality appearance appears consistent effusion evidence finding findings impression indication
  technique evaluation evaluate assess assessment rule ruled status month months week weeks day days year years old hour hours minute minutes yo ya
  male female man woman boy girl kopf thorax schaedel abdomen becken hals wirbelsaeule lunge leber niere herz knie hand fuss schulter huefte links rechts mit ohne
  vom telefon telephone kontrastmittel km nativ verlauf befund kontrolle untersuchung tete crane poumon foie rein genou avec sans cabeza torax pulmon higado rodilla con sin
  cm mm mg kg kv kvp ms sec min hz khz mhz ghz deg cc mmol gy cgy mgy msv msec mins ml dl pct percent
`;

const WORDS = readWords();

function readWords(): Set<string> {
  const { rows } = readJson<{ rows: string[] }>('./clinical-words.json');
  const languages = readJson<{ rows: Record<string, string[]> }>('./report-words.json');
  const reports = Object.values(languages.rows).flatMap((lines) => lines.join(' ').split(' '));
  return new Set([...rows.join(' ').split(' '), ...OWN.split(/\s+/), ...reports.map(fold)]);
}

function readJson<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8')) as T;
}

/** `word` in lower case, without accents. */
export function isClinicalWord(word: string): boolean {
  if (WORDS.has(word)) return true;
  // Plurals and the like, that the names of the standard do not have.
  for (const ending of ENDINGS) {
    if (word.length > ending.length + 3 && word.endsWith(ending) && WORDS.has(word.slice(0, -ending.length)))
      return true;
  }
  return false;
}

const ENDINGS = ['s', 'es', 'ed', 'd', 'ing', 'ly', 'al', 'ic'];

/** Levels of the spine, sequence parameters, measures, counts: never long enough to be an identifier. */
const MEASURES =
  /^(\d{1,3}|[ctls]\d{1,2}|[a-z]{1,2}\d{1,3}|(?:b|te|tr|ti|fa|kv|ma|wl|ww|br|fr)\d{1,4}|\d{1,4}(?:mm|cm|m|kv|kvp|ma|mas|ms|s|sec|min|ml|cc|mg|kg|hu|hz|khz|mhz|ghz|t|d|f|w|h|th|st|nd|rd|p|ch|gy|cgy|mgy|msv)|\d{1,3}x\d{1,3}(?:x\d{1,3})?)$/;

/** What a profile with `freeText: words` lets stand. */
export function isHarmlessWord(word: string): boolean {
  return isClinicalWord(word) || MEASURES.test(word);
}
