/** What has the form of an identifier in Japanese, Chinese, Korean and Russian texts: scripts where neither blanks nor capitals tell names. */

/** Digits, also of full width; for use in brackets and alone. */
const N = '0-9０-９';
const D = `[${N}]`;
const HAN = '\\p{sc=Han}';
const KANA = '\\p{sc=Hiragana}\\p{sc=Katakana}ー';
const LETTER = `[${HAN}${KANA}ｦ-ﾟ々]`;
/** A name as forms have it, family and given name with or without a blank between them, up to what follows it. */
const NAME = `${LETTER}{1,6}?(?:[ 　・](?![^\\s：:]{1,10}[：:])${LETTER}{1,5}?)?(?=先生|医師|医生|主任|教授|様|さん|[^${HAN}${KANA}ｦ-ﾟ々]|$)`;
/** Of Chinese families: nine of ten people. */
const FAMILIES =
  '(?:欧阳|诸葛|司马|上官|东方|皇甫|尉迟|公孙|慕容|令狐|[王李张張刘劉陈陳杨楊黄黃赵趙吴吳周徐孙孫马馬朱胡郭何高林罗羅郑鄭梁谢謝宋唐许許韩韓冯馮邓鄧曹彭曾肖萧蕭田董袁潘于蒋蔣蔡余杜叶葉程苏蘇魏吕呂丁任沈姚卢盧姜崔钟鐘谭譚陆陸汪范廖石金韦韋贾賈夏付方白邹鄒孟熊秦邱江尹薛阎閻段雷侯龙龍史陶黎贺賀顾顧毛郝龚龔邵万萬钱錢严嚴武戴莫孔向汤湯])';
/** Runs of Han that stand before a title and are no name: "主治医師", "放射線科医師", "担当医". */
const NO_NAME_BEFORE = '(?![^先医醫医様氏教]*[科部主担擔専專臨当當責责副指看護护患者本同各研技検查査住院值値])';

const MONTH_RU =
  '(?:январ[ьяе]|феврал[ьяе]|март[ае]?|апрел[ьяе]|ма[йяе]|июн[ьяе]|июл[ьяе]|август[ае]?|сентябр[ьяе]|октябр[ьяе]|ноябр[ьяе]|декабр[ьяе])';
const NAME_RU = '\\p{Lu}[а-яёіїєґўђјљњћџ]{1,24}(?:-\\p{Lu}[а-яё]{1,24})?';
const INITIALS_RU = '[А-ЯЁІЇЄҐ]\\. ?[А-ЯЁІЇЄҐ]\\.';

/** What every match holds one of, cheap to look for. */
const CYRILLIC = /[\u0400-\u04ff]/;

interface Eastern {
  readonly sign: RegExp;
  readonly expression: RegExp;
  readonly group?: number;
}

/** Each match goes; `group` names the part that does where it is not the whole. */
export const EASTERN_PATTERNS: readonly Eastern[] = [
  // Days, also by era, and times of day.
  {
    sign: /年/,
    expression: new RegExp(
      `(?:(?:明治|大正|昭和|平成|令和|民國|民国)\\s?(?:${D}{1,2}|元)|${D}{4})\\s?年\\s?(?:${D}{1,2}\\s?月(?:\\s?${D}{1,2}\\s?[日号號])?)?`,
      'gu',
    ),
  },
  {
    sign: /[HSTRＨＳＴＲ][0-9０-９]/,
    expression: new RegExp(`(?<![\\p{L}${N}])[HSTRＨＳＴＲ]${D}{1,2}[./年]${D}{1,2}[./月]${D}{1,2}日?(?!${D})`, 'gu'),
  },
  { sign: /月/, expression: new RegExp(`(?<!${D})${D}{1,2}\\s?月\\s?${D}{1,2}\\s?[日号號]`, 'gu') },
  {
    sign: /年/,
    expression:
      /[一二三四五六七八九〇零○]{4}年(?:[一二三四五六七八九十]{1,3}月(?:[一二三四五六七八九十]{1,3}[日号號])?)?/gu,
  },
  {
    sign: /년/,
    expression: new RegExp(`(?<!${D})${D}{4}\\s?년(?:\\s?${D}{1,2}\\s?월(?:\\s?${D}{1,2}\\s?일)?)?`, 'gu'),
  },
  { sign: /월/, expression: new RegExp(`(?<!${D})${D}{1,2}\\s?월\\s?${D}{1,2}\\s?일`, 'gu') },
  {
    sign: /[分분]/,
    expression: new RegExp(
      `(?:午前|午後|上午|下午|오전|오후)?\\s?(?<!${D})${D}{1,2}\\s?[時时点點시]\\s?${D}{1,2}\\s?[分분]`,
      'gu',
    ),
  },
  {
    sign: CYRILLIC,
    expression: new RegExp(
      `(?<!\\p{L})(?:0?[1-9]|[12]\\d|3[01])(?:-?го)? ${MONTH_RU}(?: (?:19|20)\\d\\d)?(?: ?г(?:ода|\\.)?)?(?!\\p{L})`,
      'giu',
    ),
  },
  {
    sign: CYRILLIC,
    expression: new RegExp(`(?<!\\p{L})${MONTH_RU} (?:19|20)\\d\\d(?: ?г(?:ода|\\.)?)?(?!\\p{L})`, 'giu'),
  },
  // Ages above 89.
  { sign: /[歳才岁歲세]/, expression: new RegExp(`(?<!${D})(?:9\\d|1[0-4]\\d)\\s?(?:歳|才|岁|歲|세)`, 'gu') },
  { sign: CYRILLIC, expression: /(?<!\d)(?:9\d|1[0-4]\d)(?: |-)?(?:лет|года?|летн\p{L}{1,4})(?!\p{L})/giu },
  // Telephones, numbers of insurance and of passports.
  {
    sign: /[78][ -]?\(?\d{3}/,
    expression: /(?<![\d.])(?:\+?7|8)[ -]?\(?\d{3,5}\)?[ -]\d{1,3}[ -]?\d{2}[ -]?\d{2}(?!\d)/gu,
  },
  { sign: /\d{3}-\d{3}-\d{3}/, expression: /(?<![\d.])\d{3}-\d{3}-\d{3}[ -]\d{2}(?!\d)/gu },
  {
    sign: CYRILLIC,
    expression:
      /(?<!\p{L})(?:полис|снилс|паспорт|серия|омс|дмс|тел|телефон|факс|и\/б|истори[яи] болезни|карта)[\p{L} .]{0,12}[:№# ]{1,4}(\d[\d -]{3,24}\d)/giu,
    group: 1,
  },
  {
    sign: /[電电联手携内전휴]|TEL|FAX/i,
    expression: new RegExp(
      `(?:電話|电话|联系方式|手机|手機|携帯|内線|전화|휴대폰|TEL|FAX)(?:番号|号码|號碼|번호)?[：: ]{1,2}([+(]?${D}[${N} ()（）.-]{3,18}${D})`,
      'giu',
    ),
    group: 1,
  },
  {
    sign: /ID|[号號证号호]/,
    expression: new RegExp(
      `(?:(?<![A-Za-z])ID|番号|番號|号码|號碼|住院号|门诊号|病案号|登记号|检查号|影像号|身份证号?|病歴番号|カルテ番号|등록번호|환자번호)[：: ]{1,2}([A-Za-z${N}][A-Za-z${N}_-]{2,24})`,
      'gu',
    ),
    group: 1,
  },
  // Where somebody lives.
  { sign: /〒/, expression: new RegExp(`〒\\s?${D}{3}-?${D}{4}`, 'gu') },
  {
    sign: /[都道府県]/,
    expression: new RegExp(
      `(?:東京都|北海道|(?:京都|大阪)府|${HAN}{2,3}県)(?:[${HAN}${KANA}]{1,12}[市区町村郡])?[${HAN}${KANA}]{0,12}(?:${D}{1,4}(?:[-−‐]${D}{1,4}|丁目|番地?|号室?){0,4})?`,
      'gu',
    ),
  },
  {
    sign: /[市区町村郡]/,
    expression: new RegExp(
      `[${HAN}${KANA}]{1,12}[市区町村郡][${HAN}${KANA}]{1,12}${D}{1,4}(?:丁目|番地?|[-−‐]${D}{1,4}[-−‐]${D})[${N}丁目番地号室−‐-]{0,12}`,
      'gu',
    ),
  },
  {
    sign: /[路街道巷弄同村区]/,
    expression: new RegExp(
      `(?:${HAN}{2,3}(?:省|自治区))?(?:${HAN}{2,4}市)?(?:${HAN}{1,4}[区县區縣])?${HAN}{1,8}(?:路|街|大道|巷|弄|胡同|村|小区|社区)(?:${HAN}{1,6})?${D}{1,5}(?:号|號|弄|幢|栋|楼|室|单元|-${D}{1,4}|${HAN}?${D}){1,6}`,
      'gu',
    ),
  },
  { sign: CYRILLIC, expression: /(?<!\p{L})(?<!\d ?)(?:г|гор)\. ?\p{Lu}\p{L}+(?:-\p{L}+){0,2}/gu },
  {
    sign: CYRILLIC,
    expression:
      /(?<!\p{L})(?:ул|пр|просп|пр-т|пер|б-р|бульв|ш|наб|пл|мкр)\.? ?\p{Lu}[\p{L} .-]{1,30}?(?=,|;|\n|$|\d)(?:,? ?(?:д|дом)\.? ?\d+\p{L}?)?(?:,? ?(?:к|корп|стр)\.? ?\d+)?(?:,? ?(?:кв|оф)\.? ?\d+)?/gu,
  },
  {
    sign: CYRILLIC,
    expression:
      /(?<!\p{L})(?:улица|проспект|переулок|бульвар|шоссе|набережная) \p{Lu}[\p{L}-]{1,30}(?:,? ?(?:д|дом)\.? ?\d+\p{L}?)?(?:,? ?(?:кв|квартира)\.? ?\d+)?/gu,
  },
  { sign: CYRILLIC, expression: /(?<!\p{L})(?:д|дом)\. ?\d+\p{L}?,? ?(?:кв|квартира)\. ?\d+/gu },
  // People, by what stands before or behind their names.
  {
    sign: /[氏姓名フふ医醫技师師者판의성명]/,
    expression: new RegExp(
      `(?:患者氏名|氏名|姓名|名前|フリガナ|ふりがな|(?:検査|撮影|紹介|説明|報告|报告|審核|审核|申请|申請|检查|檢查|诊断|診断|診斷|読影|依頼|担当|主治|確認|记录|記録|书写)(?:医师|医生|醫師|医師|医|者)|技師|技师|환자명|성명|판독의|의뢰의)[：:]\\s?(${NAME}|\\p{sc=Hangul}{2,5})`,
      'gu',
    ),
    group: 1,
  },
  {
    sign: /[患病家丈妻儿兒女父母]/,
    expression: new RegExp(
      `(?:患者|病人|家属|家屬|丈夫|妻子|儿子|兒子|女儿|女兒|父亲|母亲)(${FAMILIES}${HAN}{1,2})(?=[，,。；;（(]|[男女]|已|于|因|诉|家属|$)`,
      'gu',
    ),
    group: 1,
  },
  {
    sign: /[主副医醫大教护護先女]/,
    expression: new RegExp(
      `${FAMILIES}${HAN}{1,2}(?=主任|副主任|医生|醫生|医师|醫師|大夫|教授|护士|護士|先生|女士)`,
      'gu',
    ),
  },
  {
    sign: /[先医教技看様氏さ殿]/,
    expression: new RegExp(
      `(?<!${HAN})${NO_NAME_BEFORE}${HAN}{1,5}(?=先生|医師|医員|教授|技師|看護師|様|氏(?!名)|さん|殿)`,
      'gu',
    ),
  },
  {
    sign: /[先医様さ]/,
    expression: new RegExp(
      `(?<![${KANA}])[${'\\p{sc=Katakana}'}ー]{2,8}(?:[ 　・][\\p{sc=Katakana}ー]{2,8})?(?=先生|医師|様|さん(?![${KANA}]))`,
      'gu',
    ),
  },
  {
    sign: /[님수의분]/,
    expression: /(?<!\p{sc=Hangul})\p{sc=Hangul}{2,4}(?= ?(?:선생님|교수님?|전문의|환자분|님(?!\p{sc=Hangul})))/gu,
  },
  {
    sign: CYRILLIC,
    expression: new RegExp(`(?<!\\p{L})${NAME_RU} ${INITIALS_RU}|(?<!\\p{L})${INITIALS_RU} ?${NAME_RU}`, 'gu'),
  },
  {
    sign: CYRILLIC,
    expression: new RegExp(
      `(?<!\\p{L})${NAME_RU} ${NAME_RU} \\p{Lu}[а-яё]{2,20}(?:вич(?:а|у|ем|е)?|вн(?:а|ы|е|у|ой)|ич(?:а|у|ем|е)?|ичн(?:а|ы|е|у|ой))(?!\\p{L})`,
      'gu',
    ),
  },
  {
    sign: CYRILLIC,
    expression: new RegExp(
      `(?<!\\p{L})(?:[Вв]рач\\p{L}{0,3}(?:-\\p{L}{4,14})?|[Дд]октор\\p{L}{0,2}|[Дд]-р|[Пп]роф(?:ессор\\p{L}{0,2}|\\.)|[Гг]-(?:н|жа)|[Гг]осподин|[Гг]оспожа|[Пп]ациент(?:ка|ки|ке|у|а)?|[Лл]аборант|[Мм]едсестра)[:.]? (${NAME_RU}(?: ${NAME_RU}){0,2})(?=[^\\p{L}]|$)`,
      'gu',
    ),
    group: 1,
  },
];
