/**
 * The 43 questions that ClickBench asks of its table `hits`, in its order and in our words. `certain` names the columns that are the same
 * however rows of one rank are ordered (all of them when it is absent); of the others an answer has one choice among several right ones.
 */

const IN_JULY = "CounterID = 62 AND EventDate BETWEEN DATE '2013-07-01' AND DATE '2013-07-31'";
const SUMS = Array.from({ length: 90 }, (_, add) => `sum(ResolutionWidth${add === 0 ? '' : ` + ${add}`}) AS s${add}`).join(', ');
const REFERRING_HOST = `regexp_replace(Referer, '^https?://(?:www\\.)?([^/]+)/.*$', '\\1')`;

/** @param rows of the table: what counts as a large group depends on it */
export function clickBenchQueries(rows) {
  const large = Math.floor(rows / 1_000);
  return [
    { sql: 'SELECT count(*) AS n FROM hits' },
    { sql: 'SELECT count(*) AS n FROM hits WHERE AdvEngineID <> 0' },
    { sql: 'SELECT sum(AdvEngineID) AS engines, count(*) AS n, avg(ResolutionWidth) AS width FROM hits' },
    { sql: 'SELECT avg(UserID) AS middle FROM hits' },
    { sql: 'SELECT count(DISTINCT UserID) AS users FROM hits' },
    { sql: 'SELECT count(DISTINCT SearchPhrase) AS phrases FROM hits' },
    { sql: 'SELECT min(EventDate) AS first, max(EventDate) AS last FROM hits' },
    { sql: 'SELECT AdvEngineID, count(*) AS n FROM hits WHERE AdvEngineID <> 0 GROUP BY AdvEngineID ORDER BY n DESC', certain: ['n'] },
    { sql: top('RegionID', 'count(DISTINCT UserID) AS users', { by: 'users' }), certain: ['users'] },
    {
      sql: top('RegionID', 'sum(AdvEngineID) AS engines, count(*) AS n, avg(ResolutionWidth) AS width, count(DISTINCT UserID) AS users'),
      certain: ['n'],
    },
    {
      sql: top('MobilePhoneModel', 'count(DISTINCT UserID) AS users', { where: "MobilePhoneModel <> ''", by: 'users' }),
      certain: ['users'],
    },
    {
      sql: top('MobilePhone, MobilePhoneModel', 'count(DISTINCT UserID) AS users', { where: "MobilePhoneModel <> ''", by: 'users' }),
      certain: ['users'],
    },
    { sql: top('SearchPhrase', 'count(*) AS n', { where: "SearchPhrase <> ''" }), certain: ['n'] },
    { sql: top('SearchPhrase', 'count(DISTINCT UserID) AS users', { where: "SearchPhrase <> ''", by: 'users' }), certain: ['users'] },
    { sql: top('SearchEngineID, SearchPhrase', 'count(*) AS n', { where: "SearchPhrase <> ''" }), certain: ['n'] },
    { sql: top('UserID', 'count(*) AS n'), certain: ['n'] },
    { sql: top('UserID, SearchPhrase', 'count(*) AS n'), certain: ['n'] },
    { sql: 'SELECT UserID, SearchPhrase, count(*) AS n FROM hits GROUP BY UserID, SearchPhrase LIMIT 10', certain: [] },
    {
      sql: 'SELECT UserID, extract(minute FROM EventTime) AS m, SearchPhrase, count(*) AS n FROM hits GROUP BY UserID, m, SearchPhrase ORDER BY n DESC LIMIT 10',
      certain: ['n'],
    },
    { sql: 'SELECT UserID FROM hits WHERE UserID = 435090932899640449' },
    { sql: "SELECT count(*) AS n FROM hits WHERE URL LIKE '%google%'" },
    {
      sql: top('SearchPhrase', 'min(URL) AS page, count(*) AS n', { where: "URL LIKE '%google%' AND SearchPhrase <> ''" }),
      certain: ['n'],
    },
    {
      sql: top('SearchPhrase', 'min(URL) AS page, min(Title) AS title, count(*) AS n, count(DISTINCT UserID) AS users', {
        where: "Title LIKE '%Google%' AND URL NOT LIKE '%.google.%' AND SearchPhrase <> ''",
      }),
      certain: ['n'],
    },
    { sql: "SELECT * FROM hits WHERE URL LIKE '%google%' ORDER BY EventTime LIMIT 10", certain: ['EventTime'] },
    { sql: "SELECT SearchPhrase FROM hits WHERE SearchPhrase <> '' ORDER BY EventTime LIMIT 10", certain: [] },
    { sql: "SELECT SearchPhrase FROM hits WHERE SearchPhrase <> '' ORDER BY SearchPhrase LIMIT 10" },
    { sql: "SELECT SearchPhrase FROM hits WHERE SearchPhrase <> '' ORDER BY EventTime, SearchPhrase LIMIT 10" },
    {
      sql: `SELECT CounterID, avg(length(URL)) AS l, count(*) AS n FROM hits WHERE URL <> '' GROUP BY CounterID HAVING count(*) > ${large} ORDER BY l DESC LIMIT 25`,
      certain: ['l'],
    },
    {
      sql: `SELECT ${REFERRING_HOST} AS host, avg(length(Referer)) AS l, count(*) AS n, min(Referer) AS first FROM hits WHERE Referer <> '' GROUP BY host HAVING count(*) > ${large} ORDER BY l DESC LIMIT 25`,
      certain: ['l'],
    },
    { sql: `SELECT ${SUMS} FROM hits` },
    {
      sql: top('SearchEngineID, ClientIP', 'count(*) AS n, sum(IsRefresh) AS refreshes, avg(ResolutionWidth) AS width', {
        where: "SearchPhrase <> ''",
      }),
      certain: ['n'],
    },
    {
      sql: top('WatchID, ClientIP', 'count(*) AS n, sum(IsRefresh) AS refreshes, avg(ResolutionWidth) AS width', {
        where: "SearchPhrase <> ''",
      }),
      certain: ['n'],
    },
    { sql: top('WatchID, ClientIP', 'count(*) AS n, sum(IsRefresh) AS refreshes, avg(ResolutionWidth) AS width'), certain: ['n'] },
    { sql: top('URL', 'count(*) AS n'), certain: ['n'] },
    { sql: 'SELECT 1 AS one, URL, count(*) AS n FROM hits GROUP BY one, URL ORDER BY n DESC LIMIT 10', certain: ['n'] },
    {
      sql: 'SELECT ClientIP, ClientIP - 1 AS a, ClientIP - 2 AS b, ClientIP - 3 AS c, count(*) AS n FROM hits GROUP BY ALL ORDER BY n DESC LIMIT 10',
      certain: ['n'],
    },
    { sql: top('URL', 'count(*) AS n', { where: `${IN_JULY} AND DontCountHits = 0 AND IsRefresh = 0 AND URL <> ''` }), certain: ['n'] },
    { sql: top('Title', 'count(*) AS n', { where: `${IN_JULY} AND DontCountHits = 0 AND IsRefresh = 0 AND Title <> ''` }), certain: ['n'] },
    {
      sql: top('URL', 'count(*) AS n', { where: `${IN_JULY} AND IsRefresh = 0 AND IsLink <> 0 AND IsDownload = 0`, after: 1_000 }),
      certain: ['n'],
    },
    {
      sql: `SELECT TraficSourceID, SearchEngineID, AdvEngineID, CASE WHEN SearchEngineID = 0 AND AdvEngineID = 0 THEN Referer ELSE '' END AS source,
              URL AS target, count(*) AS n FROM hits WHERE ${IN_JULY} AND IsRefresh = 0 GROUP BY ALL ORDER BY n DESC LIMIT 10 OFFSET 1000`,
      certain: ['n'],
    },
    {
      sql: top('URLHash, EventDate', 'count(*) AS n', {
        where: `${IN_JULY} AND IsRefresh = 0 AND TraficSourceID IN (-1, 6) AND RefererHash = 3594120000172545465`,
        after: 100,
      }),
      certain: ['n'],
    },
    {
      sql: top('WindowClientWidth, WindowClientHeight', 'count(*) AS n', {
        where: `${IN_JULY} AND IsRefresh = 0 AND DontCountHits = 0 AND URLHash = 2868770270353813622`,
        after: 10_000,
      }),
      certain: ['n'],
    },
    {
      sql: `SELECT date_trunc('minute', EventTime) AS m, count(*) AS n FROM hits WHERE CounterID = 62 AND EventDate BETWEEN DATE '2013-07-14' AND DATE '2013-07-15'
              AND IsRefresh = 0 AND DontCountHits = 0 GROUP BY m ORDER BY m LIMIT 10 OFFSET 1000`,
    },
  ];
}

/** The ten groups with the most of something. */
function top(keys, values, { where, by = 'n', after } = {}) {
  const condition = where === undefined ? '' : ` WHERE ${where}`;
  const offset = after === undefined ? '' : ` OFFSET ${after}`;
  return `SELECT ${keys}, ${values} FROM hits${condition} GROUP BY ${keys} ORDER BY ${by} DESC LIMIT 10${offset}`;
}
