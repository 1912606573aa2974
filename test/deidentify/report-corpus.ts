/**
 * Reports as they are dictated, in seven languages, written for these tests about people who do not exist. What stands between [[ and ]]
 * names somebody, a place, a day or a number and has to go; what stands between {{ and }} may go or stay (a title, a name that is also a word of the
 * trade); every other word has to stay.
 */
export interface Report {
  readonly language: 'en' | 'de' | 'fr' | 'es' | 'ja' | 'zh' | 'ru';
  /** What the object says of its people in attributes of its own. */
  readonly header: {
    readonly patient: string;
    readonly patientID: string;
    readonly accession: string;
    readonly birthDate: string;
    readonly referring: string;
    readonly institution: string;
    readonly address?: string;
    readonly phone?: string;
    readonly station?: string;
  };
  readonly text: string;
}

export const REPORTS: readonly Report[] = [
  {
    language: 'en',
    header: {
      patient: 'Hargreaves^Eleanor^Maud^Mrs',
      patientID: 'RXH-0048213',
      accession: 'A2219004471',
      birthDate: '19510914',
      referring: 'Oduya^Temitope^^Dr',
      institution: 'Royal Harrowfield Infirmary',
      address: '14 Bramblewood Close, Harrowfield HF3 7QT',
      phone: '01632 960 483',
    },
    text: `CT CHEST, ABDOMEN AND PELVIS WITH CONTRAST
Patient: [[Eleanor Hargreaves]], DOB [[14/09/1951]], hospital number [[RXH 0048213]], NHS [[943 476 5919]].
Referred by {{Dr}} [[Oduya]], [[Royal Harrowfield Infirmary]]. Tel [[01632 960483]].
Clinical details: 71 year old woman, weight loss of 6 kg over three months, CA 19-9 raised at 412 U/ml. Known Hodgkin lymphoma, treated in childhood. {{Mrs}} [[Hargreaves]]' daughter [[Maud]] reports night sweats.
Comparison: CT of [[3 March 2021]] and MRI dated [[21.11.20]].
Technique: 5 mm axial slices at 120 kVp, 90 ml Omnipaque 350 at 3 ml/s, portal venous phase (70 s). CTDIvol 8.4 mGy, DLP 612 mGy cm.
Findings: There is a 34 x 28 mm hypoattenuating mass in the uncinate process of the pancreas, abutting the SMV over less than 180 degrees. The pancreatic duct measures 6 mm. No free fluid in the pouch of Douglas. Baker's cyst is not assessed. Schmorl's nodes at L2/3 and T11/12. Bosniak II cyst in the left kidney, 12 mm, previously 11 mm.
Several subcentimetre nodules in segment 7 and 8 of the liver, too small to characterise. Fleischner follow-up is advised for a 4 mm nodule (series 5, image 112).
Impression: Borderline resectable pancreatic head carcinoma, T2 N1. Discussed with Dr. [[Priyanka Raghunathan]] by telephone at [[16:42]] on Tuesday [[4th April 2023]]; [[E. Hargreaves]] to be listed for the MDT.
Reported by: Dr [[J. McAllister-Byrne]], consultant radiologist, GMC [[7042318]]. Verified [[04-Apr-2023 17:05]]. Accession [[A2219004471]].`,
  },
  {
    language: 'en',
    header: {
      patient: 'Stone^Hunter',
      patientID: '77104923',
      accession: '5512873',
      birthDate: '19880102',
      referring: 'Head^Rosemary',
      institution: 'Mercy Lake Medical Center',
      address: '4410 Old Quarry Rd, Apt 12B, Duluth, MN 55804',
      phone: '(218) 555-0147',
      station: 'MLMC-CT2',
    },
    text: `EXAM: CT ABDOMEN PELVIS WITHOUT CONTRAST ({{STONE}} PROTOCOL)
HISTORY: [[Hunter Stone]] is a 35-year-old male with left flank pain, r/o kidney {{stones}}. MRN# [[77104923]]. Lives at [[4410 Old Quarry Road, Apt 12B, Duluth, MN 55804]], phone [[218-555-0147]], email [[hunter.stone@lakemail.example.com]].
Mr. [[Stone]] was last seen on [[1/2/23]]; outside films from [[Mercy Lake Medical Center]] are at [[https://images.mercylake.example.org/s?id=44812]].
FINDINGS: 5 mm obstructing {{stone}} at the left UVJ with moderate hydronephrosis. Gallstones are present. Additional punctate {{stones}} bilaterally. HU 850. Appendix is normal. Mild degenerative change L4-5, 1-2 mm retrolisthesis.
Prostate 3.2 x 4.1 x 3.0 cm. Heart size normal. {{Head}} of the pancreas is unremarkable.
IMPRESSION: 1. Obstructing 5 mm left ureteral {{stone}}. 2. Cholelithiasis.
Results called to Dr. [[Head]] at [[2:15]] {{PM}} on [[January 2nd, 2023]]. SSN [[523-44-1987]] on file. Electronically signed by [[Wolfgang Petersen-Achebe]], {{MD}}.`,
  },
  {
    language: 'en',
    header: {
      patient: 'Nguyen^Thi Minh^Anh',
      patientID: 'UHM00123987',
      accession: 'ACC-22-009812',
      birthDate: '19290730',
      referring: 'Castellanos^Bruno^J',
      institution: 'University Hospital Marlowe',
      phone: '+1 415 555 0199',
      station: 'UHMMR3T1',
    },
    text: `MRI BRAIN W/WO CONTRAST. Ms. [[Nguyen]] is a [[93-year-old]] woman with right sided weakness since yesterday, [[12 Feb]]. Comparison: none at {{UHM}}; outside MRI [[2019-06-30]].
Sequences: 3D T1 MPRAGE, T2 FLAIR, SWI, DWI (b=0, 1000), TR/TE 9000/120, FOV 240 mm, 3T.
There is restricted diffusion in the left MCA territory measuring 2.4 cm. Fazekas grade 2 white matter disease. No Chiari malformation. Circle of Willis is patent. The IAC and cranial nerves VII/VIII are normal. Midline shift of 3 mm.
[[Minh Anh]]'{{s}} son was present. Read back by {{RN}} [[K. Ostrowski]] at [[23:10]]. Page Dr [[Castellanos]], pager [[55-0199]]. Case id [[ACC22009812]]; visit no. [[V-2023-88123]].`,
  },
  {
    language: 'en',
    header: {
      patient: 'Rose^Temperance',
      patientID: 'MG-5512-77',
      accession: '2023-MG-001877',
      birthDate: '19650605',
      referring: 'Lane^Victor',
      institution: 'Breast Care Centre Wexcombe',
    },
    text: `Screening mammogram. BI-RADS density C. There is an 8 mm spiculated mass at the 10 o'clock position of the right breast, 5 cm from the nipple, in keeping with a fibroadenoma or IDC. Scattered calcifications. BI-RADS 4B. PSA not relevant. Gleason 3+4=7 was entered in error.
[[Temperance Rose]] ([[T. ROSE]], [[ROSE^TEMPERANCE]]) attended [[Breast Care Centre Wexcombe]] on Monday, [[5 June 2023]] at [[9:30]]{{am}}. The edema {{rose}} slightly. Dr [[Lane]] to review. Ref [[MG551277]]. The nodule {{arose}} within {{lane}} one of the gel.`,
  },
  {
    language: 'de',
    header: {
      patient: 'Müller-Lüdenscheidt^Karl-Heinz^^Dr.',
      patientID: '4711-0815',
      accession: 'RÖ2023004711',
      birthDate: '19570302',
      referring: 'Großekämper^Annegret^^Dr. med.',
      institution: 'Klinikum Sankt Marien Brilon',
      address: 'Lindenstraße 12a, 59929 Brilon',
      phone: '02961 7808-112',
    },
    text: `Sehr geehrte Frau Kollegin [[Großekämper]],
wir berichten über Ihren Patienten [[Karl-Heinz Müller-Lüdenscheidt]], geb. [[02.03.1957]], wohnhaft [[Lindenstraße 12a, 59929 Brilon]], Tel. [[02961/7808112]], Pat.-Nr. [[4711-0815]], versichert bei der AOK, Versichertennummer [[M123456789]].
Untersuchung: CT Thorax mit Kontrastmittel vom [[17. März 2023]], Voraufnahmen vom [[5.11.22]] zum Vergleich.
Klinische Angaben: Zustand nach Bronchialkarzinom, Verlaufskontrolle. Patient Nichtraucher seit drei Jahren. Herr [[Müller-Lüdenscheidt]] klagt über Belastungsdyspnoe.
Befund: Regelrechte Darstellung der zentralen Bronchien. Im rechten Oberlappen eine 12 x 9 mm große, spikulierte Raumforderung (Serie 4, Bild 87), größenkonstant. Keine pathologisch vergrößerten mediastinalen Lymphknoten. Kein Pleuraerguss. Herz nicht vergrößert. Morbus Bechterew mit Syndesmophyten, Morbus Scheuermann in Höhe BWK 7/8. Köhler-Linie intakt. Leberzyste in Segment IVa, 8 mm. 64-Zeilen-CT, 120 kV, 110 mAs, DLP 312 mGy*cm.
Beurteilung: Kein Nachweis eines Rezidivs. Kontrolle in 6 Monaten empfohlen.
Rücksprache mit Oberarzt Dr. [[Zwicklbauer]] am [[17.3.]] um [[14.30]] {{Uhr}}. Mit freundlichen kollegialen Grüßen, {{Prof. Dr. med. H.-J.}} [[Pfeffermann]], Chefarzt der Radiologie, [[Klinikum Sankt Marien]], Fax [[02961 7808-113]], E-Mail [[radiologie@marien-brilon.example.de]].`,
  },
  {
    language: 'de',
    header: {
      patient: 'Klein^Rosa',
      patientID: 'P0099231',
      accession: 'A-88-1123',
      birthDate: '19301224',
      referring: 'Herz^Jürgen',
      institution: 'Praxis am Stadtpark',
    },
    text: `Röntgen rechtes Knie in 2 Ebenen. Anamnese: [[92-jährige]] Patientin, Sturz am [[24.12.]] zu Hause. Patientin {{Frau}} [[Klein]] war gehfähig. {{Kleiner}} Gelenkerguss, Patella mittelständig, {{Herz}} und Lunge nicht untersucht. Keine Fraktur. Gonarthrose Grad II nach Kellgren-Lawrence. Baker-Zyste sonographisch 3 cm. Überweiser: Dr. [[Herz]], [[Praxis am Stadtpark]]. {{Kleinvolumige}} Verkalkungen. Aufnahme durch MTRA [[Schmidtbauer]]. Die {{kleinen}} Fußgelenke sind unauffällig. Frau [[R. Klein]], Auftrag [[A881123]].`,
  },
  {
    language: 'de',
    header: {
      patient: 'Yıldırım^Ayşe',
      patientID: '20230417-33',
      accession: '1700442',
      birthDate: '19831111',
      referring: 'Bäumer^Sören',
      institution: 'Universitätsklinikum Nordhafen',
    },
    text: `MRT der LWS nativ. Fr. [[Yildirim]], [[A. Yıldırım]]: Bandscheibenvorfall LWK 5/SWK 1 mit Kontakt zur Nervenwurzel S1 links. Modic I. Geburtsjahr {{1983}}, Geburtsdatum: [[11.11.83]]. Überwiesen von Dr. [[Bäumer]] ([[Baeumer]]). Spinalkanal 9 mm. Sequenzen: T1 TSE sag, T2 TSE sag, T2 STIR, Schichtdicke 4 mm, TR 3500 ms, TE 102 ms. Fallnummer [[1700442]]. Telefonisch erreichbar unter [[0171-2345678]]. Uniklinik Befundung am [[17. Apr. 2023]], [[08:15]] {{Uhr}}.`,
  },
  {
    language: 'fr',
    header: {
      patient: "D'Aubigny^Hélène",
      patientID: 'IPP8004512',
      accession: 'EX230045',
      birthDate: '19720814',
      referring: 'Lefèvre-Martin^Théophile',
      institution: 'Centre Hospitalier de Saint-Brévin',
      address: '12 bis rue des Lilas, 44250 Saint-Brévin',
      phone: '02 40 27 11 83',
    },
    text: `SCANNER THORACO-ABDOMINO-PELVIEN AVEC INJECTION
Madame [[Hélène D'Aubigny]], née le [[14 août 1972]], demeurant [[12 bis, rue des Lilas, 44250 Saint-Brévin]], tél. [[02.40.27.11.83]], n° sécurité sociale [[2 72 08 44 109 001 22]], {{IPP}} [[8004512]].
Indication : bilan d'extension d'une néoplasie du sein gauche. Comparaison au scanner du [[3 février 2022]] et à l'IRM du [[12/10/21]].
Technique : acquisition hélicoïdale, coupes de 1,25 mm, 100 kV, injection de 90 cc d'Iomeron 400 à 3 ml/s.
Résultats : nodule de 7 mm du lobe supérieur droit, stable. Pas d'adénopathie médiastinale. Absence d'épanchement pleural. Foie homogène, kyste biliaire simple de 12 mm du segment VI. Maladie de Crohn connue. Pas de thrombose porte. Cul-de-sac de Douglas libre. Hernie discale L5-S1.
Conclusion : pas de lésion secondaire décelable. Contrôle à 6 mois. {{M.}} [[Lefèvre-Martin]], médecin traitant, informé le [[15 mars 2023]] à [[16h30]]. Mme [[D'AUBIGNY]] a reçu le compte rendu.
Docteur [[Anne-Sophie Kerviel]], radiologue, {{CH}} [[Saint-Brévin]]. Courriel : [[secretariat.imagerie@ch-stbrevin.example.fr]]. RPPS [[10003456789]].`,
  },
  {
    language: 'fr',
    header: {
      patient: 'Petit^Blanche',
      patientID: 'C556120',
      accession: 'RX99120',
      birthDate: '20010203',
      referring: 'Durand^Paul',
      institution: 'Clinique des Trois Rivières',
    },
    text: `Radiographie du poignet droit, face et profil. Motif : chute ce jour. La patiente [[Blanche Petit]] présente une fracture de Pouteau-Colles non déplacée. {{Petit}} arrachement de la styloïde ulnaire. Substance {{blanche}} non explorée. Os du carpe en place, espace scapho-lunaire de 2 mm. Adressée par le Dr [[Durand]]. Prochain rendez-vous le [[1er avril 2023]] ou au [[06 12 34 56 78]]. [[Clinique des Trois Rivières]], dossier [[C556120]].`,
  },
  {
    language: 'es',
    header: {
      patient: 'Ibáñez García^María del Carmen',
      patientID: 'NHC 778120',
      accession: 'TC-2023-5561',
      birthDate: '19480321',
      referring: 'Peñaranda^Íñigo',
      institution: 'Hospital Virgen del Camino',
      address: 'C/ Mayor 12, 3º B, 31008 Pamplona',
      phone: '948 42 22 22',
    },
    text: `TC DE TÓRAX CON CONTRASTE INTRAVENOSO
Paciente: [[María]] {{del}} [[Carmen Ibáñez García]], nacida el [[21]] {{de}} [[marzo]] {{de}} [[1948]], DNI [[12345678Z]], {{NHC}} [[778120]], domicilio [[C/ Mayor 12, 3º B, 31008 Pamplona]], teléfono [[948 422 222]].
Motivo: mujer de 75 años con disnea y dolor torácico. Se compara con estudio del [[05/11/2022]].
Técnica: cortes de 1 mm, 120 kV, 80 ml de contraste yodado.
Hallazgos: defecto de repleción en la arteria lobar inferior derecha compatible con tromboembolismo pulmonar. Derrame pleural bilateral leve. Nódulo de 5 mm en el lóbulo superior izquierdo. Hernia de hiato. Litiasis renal izquierda de 4 mm. Adenopatías mediastínicas de hasta 12 mm. Sin signos de sobrecarga derecha. Espondilosis D7-D8.
Conclusión: TEP segmentario. La Sra. [[Ibáñez]] fue derivada a urgencias; se avisa al Dr. [[Peñaranda]] a las [[13:45]] {{h}} del [[3]] {{de}} [[abril]] {{de}} [[2023]]. Fdo.: {{Dra.}} [[Begoña Echeverría Zubiri]], [[Hospital Virgen del Camino]]. Doña [[Carmen Ibañez]] firmó el consentimiento.`,
  },
  {
    language: 'ja',
    header: {
      patient: 'Yamada^Tarou=山田^太郎=やまだ^たろう',
      patientID: '0012345',
      accession: 'CT20230405012',
      birthDate: '19570302',
      referring: 'Sato^Hanako=佐藤^花子=さとう^はなこ',
      institution: '東都大学医学部附属病院',
      address: '東京都新宿区西新宿2-8-1',
      phone: '03-3456-7890',
    },
    text: `胸部CT検査報告書
患者氏名：[[山田 太郎]]（[[ヤマダ タロウ]]）　患者ID：[[0012345]]　生年月日：[[昭和32年3月2日]]
住所：[[東京都新宿区西新宿2-8-1]]　電話：[[03-3456-7890]]
依頼医：[[佐藤花子]]先生（[[東都大学医学部附属病院]]）
検査日：[[2023年4月5日]]　比較：[[2022/10/11]]のCT
所見：右肺上葉に12mm大の結節を認めます。前回と比較し増大傾向です。縦隔リンパ節の腫大は認めません。胸水なし。肝S6に8mm大の嚢胞を認めます。撮影条件は120kV、スライス厚1mmです。
診断：肺癌疑い。[[山田]]様には外来で説明済み。[[令和5年4月6日]] 放射線科 [[鈴木一郎]]医師 [[090-1234-5678]]
[[ﾔﾏﾀﾞ ﾀﾛｳ]] [[YAMADA TARO]] [[やまだたろう]]`,
  },
  {
    language: 'ja',
    header: {
      patient: 'Hara^Ken=原^健=はら^けん',
      patientID: 'A-30021',
      accession: '9912',
      birthDate: '20000115',
      referring: 'Mori^Yui=森^結衣',
      institution: 'みどり町クリニック',
    },
    text: `頭部MRI：[[原 健]]さん、23歳男性。原発性脳腫瘍の疑い。健側と比較して左側頭葉に20×18mmの腫瘤あり。原因不明の頭痛。造影T1強調像で増強効果を認める。拡散強調像では高信号。[[森結衣]]医師へ[[4月12日]][[14時30分]]に電話連絡。[[みどり町クリニック]] ID [[A-30021]]。`,
  },
  {
    language: 'zh',
    header: {
      patient: 'Zhang^Xiaodong=张^小东',
      patientID: 'M20230099',
      accession: 'CT0048812',
      birthDate: '19701111',
      referring: 'Ouyang^Jingyi=欧阳^静怡',
      institution: '北京海河医院',
      address: '北京市海淀区中关村大街27号',
      phone: '010-62751234',
    },
    text: `CT检查报告单
姓名：[[张小东]]　性别：男　年龄：52岁　住院号：[[M20230099]]　身份证号：[[110108197011110017]]
地址：[[北京市海淀区中关村大街27号]]　联系电话：[[13800138000]]
申请医师：[[欧阳静怡]]　检查日期：[[2023年4月5日]]　[[北京海河医院]]放射科
影像所见：右肺上叶可见一大小约12×9mm的结节，边缘毛糙，与[[2022-10-11]]片比较略增大。纵隔未见肿大淋巴结。双侧胸腔未见积液。肝脏S8段囊肿，直径约8mm。扫描参数：120kV，层厚1mm。
诊断意见：右肺上叶结节，考虑肺癌可能，建议3个月复查。
报告医师：[[李建国]]　审核医师：[[王丽]]主任　报告时间：[[2023年4月5日 14:32]]　患者[[张小东]]（[[Zhang Xiao Dong]]，[[ZHANG XIAODONG]]）已告知。`,
  },
  {
    language: 'ru',
    header: {
      patient: 'Щербаков^Всеволод^Игоревич',
      patientID: '77-00451',
      accession: 'КТ-5512',
      birthDate: '19640917',
      referring: 'Жуковская^Евдокия^Павловна',
      institution: 'Городская клиническая больница № 52',
      address: 'г. Москва, ул. Ленина, д. 12, кв. 5',
      phone: '+7 (495) 123-45-67',
    },
    text: `Компьютерная томография органов грудной клетки
Пациент: [[Щербаков Всеволод Игоревич]], [[17.09.1964]] г.р., адрес: [[г. Москва, ул. Ленина, д. 12, кв. 5]], тел. [[8 (495) 123-45-67]], полис [[7712 3456 7890 1234]], СНИЛС [[112-233-445 95]], история болезни № [[77-00451]].
Направлен врачом [[Жуковской Е.П.]], [[Городская клиническая больница № 52]]. Дата исследования: [[5 апреля 2023 г.]]
Описание: у пациента [[Щербакова В.И.]] в верхней доле правого лёгкого определяется образование размерами 12 х 9 мм с нечёткими контурами. Лимфатические узлы средостения не увеличены. Жидкости в плевральных полостях нет. Киста печени в S8 до 8 мм. Толщина среза 1 мм, напряжение 120 кВ. Болезнь Бехтерева.
Заключение: КТ-картина периферического образования. [[Щербакову]] рекомендован контроль через 3 месяца. Сравнение с исследованием от [[11.10.2022]]. Врач-рентгенолог: [[Кузнецова А.В.]] [[05.04.2023 14:32]]
[[Shcherbakov V.I.]], [[Vsevolod Schtscherbakow]]`,
  },
  {
    language: 'en',
    header: {
      patient: "O'Sullivan^Bríd",
      patientID: 'SV-22310',
      accession: 'E100045',
      birthDate: '19390412',
      referring: 'Mahajan^Arun',
      institution: 'St Finbarr Hospital',
      address: '3 Quay View, Youghal, Co. Cork',
      phone: '021 555 0111',
    },
    text: `Ultrasound abdomen, [[12th of May, 2022]]. [[Brid O'Sullivan]] ([[OSullivan, B.]]) is an 83 y/o lady with RUQ pain x 2 weeks, LFTs deranged (ALT 112, GGT 340). Seen by {{GP}} Dr [[Arun Mahajan]] on [[05 May]]. Next of kin: [[Declan O'Sullivan]] [[087 555 0199]]. Gallbladder contains several calculi, largest 14 mm; wall 5 mm; Murphy's sign positive. CBD 9 mm. Liver echogenic. Right kidney 10.2 cm, left 10.8 cm. Spleen 11 cm. Aorta 1.9 cm. Scan performed by sonographer [[Niamh Fitzpatrick]]. Ref no [[E100045]]. Patient resides at [[3 Quay View, Youghal]]. Copy to Dr. [[S. Vanterpool]] and Mr [[Byrne]] (surgeon). IP [[192.168.14.77]], MAC [[00:1B:44:11:3A:B7]].`,
  },
  {
    language: 'en',
    header: {
      patient: 'Jackson^Tyrone^Lee^Jr',
      patientID: '900331872',
      accession: 'XR-556-2020',
      birthDate: '20120620',
      referring: 'Park^Grace',
      institution: 'Cedar Valley Orthopedics',
    },
    text: `XR ANKLE RT 3V. Hx: 8M twisted ankle playing basketball [[6/18/20]], swelling over lateral malleolus. [[JACKSON, TYRONE]] MRN [[900331872]]. Comparison [[Dec 2019]]. Findings: Salter-Harris II fracture of the distal fibula, 2 mm displacement. Weber B excluded. Mortise intact. Soft tissue swelling. Results communicated to [[Grace Park]] NP via secure chat [[06-18-2020 @ 1412]]. Technologist: [[Kowalski, D]]. Facility NPI [[1588667638]]. Insurance member ID [[XZK889201134]]. Mother [[Latoya]] at bedside.`,
  },
  {
    language: 'de',
    header: {
      patient: 'Schwarz^Wilhelmine',
      patientID: '00887712',
      accession: 'F-2021-88',
      birthDate: '19440507',
      referring: 'Braun^Tobias',
      institution: 'Radiologie am Dom, Speyer',
      address: 'Am Dorfbrunnen 7, 67346 Speyer',
    },
    text: `MRT Schädel vom [[03.11.2021]], [[9.45]] {{Uhr}}. Sehr geehrter Herr Kollege [[Braun]], Ihre Patientin [[Wilhelmine Schwarz]] (* [[07.05.1944]]), [[Am Dorfbrunnen 7, 67346 Speyer]], Handy [[0151 23456789]]. Fragestellung: Metastasen bei Mammakarzinom? Befund: Keine Diffusionsrestriktion. Altersentsprechende Weite der inneren und äußeren Liquorräume. Einzelne, bis 4 mm große Gliosen im Marklager, Fazekas I. Hypophyse regelrecht. Nasennebenhöhlen frei. Vergleich zur Voruntersuchung [[Mai 2020]]. Assistenzarzt: [[F. Thalmeier]]. Die Patientin wurde von ihrer Tochter [[Ingeborg]] begleitet. Gez. Dr. [[R. Obermüller]]. IBAN [[DE89 3704 0044 0532 0130 00]].`,
  },
  {
    language: 'fr',
    header: {
      patient: 'Benali^Karima',
      patientID: '300112',
      accession: 'IRM-441',
      birthDate: '19901231',
      referring: 'Rousseau^Jean-Luc',
      institution: 'Hôpital Saint-Éloi',
    },
    text: `IRM du genou gauche du [[07/06/2023]]. Mme [[Karima BENALI]], 32 ans, sportive. Prescripteur : Dr [[J-L Rousseau]]. Rupture complète du ligament croisé antérieur. Lésion grade 3 de la corne postérieure du ménisque médial. Épanchement intra-articulaire. Kyste poplité de 3 cm. Contusion osseuse du plateau tibial. Dossier n° [[300112]]. Tél. patient [[07 66 12 90 45]]. Lu par le Pr [[Vasseur]]. Habite [[8, avenue du Maréchal Foch, 69006 Lyon]]. A revoir en septembre. Accompagnée de son mari [[Youssef]].`,
  },
  {
    language: 'es',
    header: {
      patient: 'Quispe Mamani^Rosa Elvira',
      patientID: 'HC-00921',
      accession: 'RM7781',
      birthDate: '19820909',
      referring: 'Salinas^Hugo',
      institution: 'Clínica San Borja',
    },
    text: `RM DE COLUMNA LUMBAR, [[9 de septiembre de 2022]]. {{Paciente}} [[Rosa Quispe]], {{HC}} [[00921]], edad 40 años. Protrusión discal L4-L5 con contacto radicular L5 izquierdo. Cono medular normal. Estenosis foraminal leve. Modic tipo II. Médico solicitante: [[Hugo Salinas]]. Celular [[987 654 321]]. Informado por el Dr. [[Ernesto Valdivia Rojas]], CMP [[45321]]. Correo: [[rquispe82@correo.example.com]]. {{Av.}} [[Javier Prado Este 4200]].`,
  },
  {
    language: 'ja',
    header: {
      patient: 'Suzuki^Aiko=鈴木^愛子=すずき^あいこ',
      patientID: '20-114-7',
      accession: '',
      birthDate: '19480817',
      referring: 'Tanaka^Jiro=田中^次郎',
      institution: 'さくら中央病院',
    },
    text: `腹部超音波検査 [[2021.08.17]] [[鈴木愛子]] 殿（[[スズキ　アイコ]]）[[S23.8.17]]生。主治医 [[田中次郎]]。肝臓：S4に15mmの高エコー腫瘤、血管腫疑い。胆嚢：結石なし、壁肥厚なし。膵臓・脾臓：異常なし。両側腎に嚢胞。検査者：[[高橋]]。紹介元：[[さくら中央病院]]。連絡先 [[080-9876-5432]]。`,
  },
  {
    language: 'zh',
    header: {
      patient: 'Li^Na=李^娜',
      patientID: '0098123',
      accession: 'MR2021088',
      birthDate: '19910203',
      referring: 'Chen^Wei=陈^伟',
      institution: '上海浦江医院',
    },
    text: `头颅MRI平扫+增强。患者[[李娜]]，女，30岁，[[2021年8月17日]]入院，病案号[[0098123]]。左侧额叶见一类圆形异常信号影，大小约25×20mm，T1WI低信号，T2WI高信号，增强后明显强化。中线结构居中。脑室系统未见扩张。与[[2020年12月]]旧片对比新发。考虑胶质瘤可能。请结合临床。[[陈伟]]医生已电话通知家属[[李强]]，手机[[139-1234-5678]]。{{家住}}[[上海市浦东新区世纪大道100号]]。`,
  },
  {
    language: 'ru',
    header: {
      patient: 'Соколова^Мария^Дмитриевна',
      patientID: '554-1',
      accession: 'МР-12',
      birthDate: '19750130',
      referring: 'Орлов^Пётр',
      institution: 'Клиника Здоровье',
    },
    text: `МРТ головного мозга от [[12.02.2022]]. Пациентка [[Соколова Мария Дмитриевна]], [[30 января 1975]] {{г.}} рождения. Пациентке [[Соколовой М.Д.]] проведено исследование в трёх проекциях. Срединные структуры не смещены. В белом веществе лобных долей единичные очаги до 4 мм. Желудочки мозга не расширены. Гипофиз обычных размеров. Направил д-р [[Орлов]]. Контактный телефон [[+7 916 123-45-67]]. Заключение выдано [[Марии Дмитриевне]] на руки. Исследование выполнил врач [[Белов К. С.]]`,
  },
];
