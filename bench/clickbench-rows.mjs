/**
 * Rows of the shape of ClickBench's table `hits` (105 columns of a web counter), made by DuckDB: the same ones every time. As in the
 * original a few sites, persons and pages have most of the hits, most search phrases are empty and most flags are 0; the constants that the
 * questions name occur, more often than there, so that a smaller table has answers too.
 */
import { statSync } from 'node:fs';
import path from 'node:path';

const FIRST_SECOND = Date.UTC(2013, 6, 1) / 1_000;
const SECONDS = 31 * 86_400;
const PERSONS = 3_000_000;
const SITES = 6_000;
const PAGES = 2_000;
const REFERRERS = 100_000;
const PHRASES = 2_000_000;

/** What texts are put together from. */
const WORDS = 'weather map flat sale phone price photo forum recipe film online music game news sport car hotel school dress garden'.split(
  ' ',
);
const PHONES = 'iPad iPhone Galaxy Desire Lumia Xperia Nexus Optimus Razr Curve Bold Asha'.split(' ');
const DOMAINS = 'ru com net org info ua by kz'.split(' ');

/** Each of these makes the SQL of a column from its number, so that no two columns go together by chance. */
const below = (bound, key) => (salt) => `(${random(key ?? 'hit', salt)} % ${bound})::BIGINT`;
const flag = (permille) => (salt) => `(${random('hit', salt)} % 1000 < ${permille})::BIGINT`;
const sometimes = (permille, value, otherwise) => (salt) =>
  `CASE WHEN ${random('hit', salt)} % 1000 < ${permille} THEN ${sqlOf(value, salt + 1_000)} ELSE ${otherwise} END`;
const milliseconds = (most) => (salt) => rank(most, random('hit', salt));
const always = (sql) => () => sql;
const largeNumber = (key) => (salt) => `(${random(key, salt)} >> 1)::BIGINT`;
const address = (key) => (salt) => `(${random(key, salt)} % 4294967296)::BIGINT - 2147483648`;
const oneOf = (texts, key) => (salt) => `${list(texts)}[1 + (${random(key, salt)} % ${texts.length})::INTEGER]`;

/** A page of a site has one address and one title. */
const PAGE = 'hash(hash(site, page))';
const PAGE_URL = `
  'http://' || host || '/' || ${words(PAGE, 2, '-')} || '/' || page
  || CASE WHEN ${PAGE} % 1000 = 1 THEN '?from=www.google.' || ${oneOf(DOMAINS, PAGE)(1)}
          WHEN ${PAGE} % 1000 < 4 THEN '?utm_source=google'
          WHEN ${PAGE} % 3 = 0 THEN '.html'
          ELSE '?page=' || (${PAGE} % 40) END`;
const TITLE = `
  CASE WHEN ${PAGE} % 20 = 0 THEN ''
       ELSE ${words(PAGE, 6, ' ')} || CASE WHEN ${PAGE} % 300 = 1 THEN ' - Google' ELSE '' END || ' | ' || host END`;
const REFERRER = `
  CASE WHEN referrer < 5 THEN ''
       WHEN phrase <> '' THEN 'http://yandex.ru/yandsearch?text=' || replace(phrase, ' ', '+')
       WHEN referrer < 60 THEN 'http://www.' || host || '/' || ${words('referrer', 2, '-')}
       ELSE 'http://' || ${words('referrer % 700', 1, '')} || (referrer % 700) || '.ru/' || referrer END`;
const PHONE = `${random('person', 7)} % 100 < 8`;
const PHONE_MODEL = (salt) =>
  `CASE WHEN ${PHONE} THEN ${oneOf(PHONES, 'person')(salt)} || CASE WHEN person % 3 = 0 THEN '' ELSE ' ' || (person % 17) END ELSE '' END`;

/** Name and content of every column of the original, in its order. */
const COLUMNS = [
  ['WatchID', largeNumber('hit')],
  ['JavaEnable', flag(700)],
  ['Title', always(TITLE)],
  ['GoodEvent', always('1::BIGINT')],
  ['EventTime', always('seen')],
  ['EventDate', always('seen::DATE')],
  ['CounterID', always('CASE WHEN site = 3 THEN 62 ELSE (hash(site) % 250000)::BIGINT END')],
  ['ClientIP', address('person')],
  ['RegionID', (salt) => rank(9_000, random('person', salt))],
  ['UserID', (salt) => `CASE WHEN person = 20000 THEN 435090932899640449 ELSE ${largeNumber('person')(salt)} END`],
  ['CounterClass', flag(200)],
  ['OS', below(90, 'person')],
  ['UserAgent', below(80, 'person')],
  ['URL', always(PAGE_URL)],
  ['Referer', always(REFERRER)],
  ['IsRefresh', flag(140)],
  ['RefererCategoryID', sometimes(300, below(15_000), 0)],
  ['RefererRegionID', sometimes(300, below(5_000), 0)],
  ['URLCategoryID', below(15_000, 'site')],
  ['URLRegionID', below(1_000, 'site')],
  [
    'ResolutionWidth',
    (salt) =>
      `[0, 1024, 1280, 1366, 1368, 1440, 1600, 1638, 1750, 1828, 1917, 1996][1 + (${random('person', salt)} % 12)::INTEGER]::BIGINT`,
  ],
  ['ResolutionHeight', below(1_200, 'person')],
  ['ResolutionDepth', always('23::BIGINT')],
  ['FlashMajor', below(16, 'person')],
  ['FlashMinor', below(9, 'person')],
  ['FlashMinor2', sometimes(300, oneOf(['700', '600', '7.0', '202'], 'person'), "''")],
  ['NetMajor', below(4, 'person')],
  ['NetMinor', below(5, 'person')],
  ['UserAgentMajor', below(40, 'person')],
  ['UserAgentMinor', oneOf(['D', 'bL', '22', 'S', '0', ''], 'person')],
  ['CookieEnable', flag(960)],
  ['JavascriptEnable', flag(990)],
  ['IsMobile', always(`(${PHONE})::BIGINT`)],
  ['MobilePhone', (salt) => `CASE WHEN ${PHONE} THEN 1 + ${below(80, 'person')(salt)} ELSE 0 END`],
  ['MobilePhoneModel', PHONE_MODEL],
  ['Params', sometimes(5, oneOf(['price=1', 'basket', 'order'], 'hit'), "''")],
  ['IPNetworkID', below(4_000_000, 'person')],
  [
    'TraficSourceID',
    (salt) => `CASE WHEN referrer < 5 THEN -1 ELSE [0, 1, 1, 2, 3, 6, 6, 8][1 + (${random('hit', salt)} % 8)::INTEGER] END::BIGINT`,
  ],
  ['SearchEngineID', (salt) => `CASE WHEN phrase = '' THEN 0 ELSE 1 + ${rank(90, random('phrase', salt))} END`],
  ['SearchPhrase', always('phrase')],
  ['AdvEngineID', sometimes(6, (salt) => `2 + ${rank(60, random('hit', salt))}`, 0)],
  ['IsArtifical', flag(10)],
  ['WindowClientWidth', below(1_900, 'hit')],
  ['WindowClientHeight', below(900, 'hit')],
  ['ClientTimeZone', below(24, 'person')],
  ['ClientEventTime', (salt) => `seen + to_seconds(${below(7_200)(salt)} - 3600)`],
  ['SilverlightVersion1', below(6, 'person')],
  ['SilverlightVersion2', below(2, 'person')],
  ['SilverlightVersion3', sometimes(400, below(50_000, 'person'), 0)],
  ['SilverlightVersion4', always('0::BIGINT')],
  ['PageCharset', oneOf(['windows-1251', 'utf-8', ''], 'site')],
  ['CodeVersion', below(2_000, 'site')],
  ['IsLink', flag(40)],
  ['IsDownload', flag(3)],
  ['IsNotBounce', flag(500)],
  ['FUniqID', largeNumber('person')],
  ['OriginalURL', sometimes(150, PAGE_URL, "''")],
  ['HID', below(1_073_741_824)],
  ['IsOldCounter', always('0::BIGINT')],
  ['IsEvent', flag(30)],
  ['IsParameter', flag(20)],
  ['DontCountHits', flag(30)],
  ['WithHash', flag(10)],
  ['HitColor', oneOf(['5', 'D', 'R', 'g', '1'], 'hit')],
  ['LocalEventTime', (salt) => `seen + to_hours(${below(12, 'person')(salt)})`],
  ['Age', below(56, 'person')],
  ['Sex', below(3, 'person')],
  ['Income', below(5, 'person')],
  ['Interests', below(30_000, 'person')],
  ['Robotness', sometimes(20, below(60), 0)],
  ['RemoteIP', address('person')],
  ['WindowName', address('hit')],
  ['OpenerName', address('hit')],
  ['HistoryLength', milliseconds(200)],
  ['BrowserLanguage', oneOf(['S0', 'ru', 'en', 'uk'], 'person')],
  ['BrowserCountry', oneOf(['nA', 'RU', 'UA', 'KZ', 'BY', ''], 'person')],
  ['SocialNetwork', sometimes(2, oneOf(['vk', 'fb'], 'hit'), "''")],
  ['SocialAction', sometimes(2, oneOf(['like', 'share'], 'hit'), "''")],
  ['HTTPError', always('0::BIGINT')],
  ['SendTiming', milliseconds(30_000)],
  ['DNSTiming', milliseconds(3_000)],
  ['ConnectTiming', milliseconds(3_000)],
  ['ResponseStartTiming', milliseconds(30_000)],
  ['ResponseEndTiming', milliseconds(30_000)],
  ['FetchTiming', milliseconds(30_000)],
  ['SocialSourceNetworkID', sometimes(10, below(9), 0)],
  ['SocialSourcePage', sometimes(10, oneOf(['http://vk.com/id1', 'http://ok.ru/'], 'hit'), "''")],
  ['ParamPrice', sometimes(5, below(100_000), 0)],
  ['ParamOrderID', sometimes(5, (salt) => `${below(1_000_000)(salt)}::VARCHAR`, "''")],
  ['ParamCurrency', oneOf(['NH', ''], 'site')],
  ['ParamCurrencyID', sometimes(5, below(3), 0)],
  ['OpenstatServiceName', sometimes(30, oneOf(['direct', 'market'], 'hit'), "''")],
  ['OpenstatCampaignID', sometimes(30, (salt) => `${below(9_000)(salt)}::VARCHAR`, "''")],
  ['OpenstatAdID', sometimes(30, (salt) => `${below(90_000)(salt)}::VARCHAR`, "''")],
  ['OpenstatSourceID', sometimes(30, oneOf(['premium', 'other'], 'hit'), "''")],
  ['UTMSource', sometimes(50, oneOf(['google', 'yandex', 'mail'], 'hit'), "''")],
  ['UTMMedium', sometimes(50, oneOf(['cpc', 'banner'], 'hit'), "''")],
  ['UTMCampaign', sometimes(50, (salt) => `${below(900)(salt)}::VARCHAR`, "''")],
  ['UTMContent', sometimes(30, (salt) => `${below(9_000)(salt)}::VARCHAR`, "''")],
  ['UTMTerm', sometimes(30, words('page', 2, ' '), "''")],
  ['FromTag', sometimes(20, words('site', 1, ''), "''")],
  ['HasGCLID', flag(15)],
  ['RefererHash', (salt) => `CASE WHEN referrer < 5 THEN 3594120000172545465 ELSE (hash(referrer, phrase, ${salt}) >> 1)::BIGINT END`],
  ['URLHash', (salt) => `CASE WHEN site = 3 AND page = 1 THEN 2868770270353813622 ELSE ${largeNumber(PAGE)(salt)} END`],
  ['CLID', sometimes(20, below(100_000), 0)],
];

/** All columns of the table in MinIODB: a record needs an id and a time of its own. */
export const COLUMN_NAMES = ['id', 'timestamp', ...COLUMNS.map(([name]) => name)];

/** What the columns of a hit are made from. The questions name site 3, whose first pages are one, its home page. */
function sources(from, to, all) {
  return `
    SELECT hit, seen, person, site, CASE WHEN site = 3 AND page <= 30 THEN 1 ELSE page END AS page, referrer,
           ${words('site', 1, '')} || site || '.' || ${oneOf(DOMAINS, 'site')(1)} AS host,
           CASE WHEN ${random('hit', 5)} % 100 < 13 THEN ${words('search', 3, ' ')} || ' ' || search ELSE '' END AS phrase
    FROM (SELECT hit, make_timestamp((${FIRST_SECOND} + hit * ${SECONDS} // ${all}) * 1000000) AS seen,
                 ${[['person', PERSONS], ['site', SITES], ['page', PAGES], ['referrer', REFERRERS], ['search', PHRASES]]
                   .map(([name, most], salt) => `${rank(most, random('hit', salt))} AS ${name}`)
                   .join(', ')}
          FROM range(${from}, ${to}) r(hit))`;
} // prettier-ignore

/** Writes hits `from` to `to` (not included) of `all` to a Parquet file. */
export async function writeHits(connection, directory, { from, to, all }) {
  const file = path.join(directory, 'hits.parquet');
  const columns = COLUMNS.map(([name, content], index) => `${content(index + 1)} AS ${name}`);
  const key = "'hit-' || lpad(hit::VARCHAR, 9, '0') AS id, seen AS timestamp";
  await connection.run(`COPY (SELECT ${key}, ${columns.join(', ')} FROM (${sources(from, to, all)})) TO '${file}' (FORMAT parquet)`);
  return { file, bytes: statSync(file).size };
}

/** A number from 1 to `most`; one twice as large is half as frequent. */
function rank(most, hash) {
  return `floor(pow(${most}, (${hash} % 4294967296)::DOUBLE / 4294967296))::BIGINT`;
}

/** Hashed once more, because what the hash of two values gives for one key and two salts goes together. */
function random(key, salt) {
  return `hash(hash(${key}, ${salt}))`;
}

function words(key, count, separator) {
  return `(${Array.from({ length: count }, (_, index) => oneOf(WORDS, key)(900 + index)).join(` || '${separator}' || `)})`;
}

function list(texts) {
  return `[${texts.map((text) => `'${text}'`).join(', ')}]`;
}

function sqlOf(value, salt) {
  return typeof value === 'function' ? value(salt) : value;
}
