/**
 * Small tables of the shape of ClickBench's and TPC-H's, for the shapes of their queries: every column that those name, and rows that most of
 * them find something in. The rows are made by counting, so they are the same ones every time.
 */
export interface BenchmarkTable {
  readonly name: string;
  readonly columns: Readonly<Record<string, string>>;
  readonly rows: readonly Readonly<Record<string, unknown>>[];
}

const DAY_MS = 86_400_000;
const MONEY = 'DECIMAL(15,2)';
const COLORS = ['almond', 'forest', 'green', 'lime', 'navy'] as const;
const WORDS = ['weather', 'map', 'sale', 'photo', 'google maps', 'recipe', 'film'] as const;
const NATIONS = ['FRANCE', 'GERMANY', 'BRAZIL', 'CANADA', 'SAUDI ARABIA', 'CHINA', 'INDIA', 'KENYA', 'PERU', 'JAPAN'] as const;
const REGIONS = ['AFRICA', 'AMERICA', 'ASIA', 'EUROPE', 'MIDDLE EAST'] as const;
const REGION_OF_NATION = [3, 3, 1, 1, 4, 2, 2, 0, 1, 2] as const;
const SEGMENTS = ['BUILDING', 'AUTOMOBILE', 'MACHINERY'] as const;
const SHIP_MODES = ['AIR', 'AIR REG', 'MAIL', 'SHIP', 'TRUCK'] as const;
const INSTRUCTIONS = ['DELIVER IN PERSON', 'COLLECT COD', 'NONE'] as const;
const CONTAINERS = ['SM CASE', 'MED BAG', 'LG BOX', 'MED BOX'] as const;
const TYPES = [
  'ECONOMY ANODIZED STEEL',
  'PROMO BURNISHED BRASS',
  'MEDIUM POLISHED TIN',
  'STANDARD PLATED COPPER',
  'SMALL BRUSHED BRASS',
] as const;

export function benchmarkTables(): BenchmarkTable[] {
  return [hits(), ...tpchTables()];
}

function hits(): BenchmarkTable {
  const numbers =
    `WatchID UserID CounterID ClientIP RegionID AdvEngineID ResolutionWidth ResolutionHeight SearchEngineID MobilePhone IsRefresh
    DontCountHits IsLink IsDownload TraficSourceID RefererHash URLHash WindowClientWidth WindowClientHeight OS JavaEnable Age`.split(/\s+/);
  const texts = ['URL', 'Title', 'Referer', 'SearchPhrase', 'MobilePhoneModel', 'BrowserLanguage'];
  return {
    name: 'hits',
    columns: {
      ...Object.fromEntries(numbers.map((name) => [name, 'BIGINT'])),
      ...Object.fromEntries(texts.map((name) => [name, 'VARCHAR'])),
      EventTime: 'TIMESTAMPTZ',
      EventDate: 'DATE',
    },
    rows: count(240, hit),
  };
}

function hit(n: number): Record<string, unknown> {
  const seen = new Date(Date.UTC(2013, 6, 1) + n * 9_700_000);
  const word = WORDS[n % WORDS.length];
  return {
    WatchID: 9_000_000_000_000_000 + n,
    UserID: n % 17 === 3 ? 435_090 : 1_000 + (n % 23),
    CounterID: n % 3 === 0 ? 62 : n % 9,
    ClientIP: -2_000_000_000 + (n % 31),
    RegionID: n % 8,
    AdvEngineID: n % 6 === 0 ? n % 4 : 0,
    ResolutionWidth: [0, 1_024, 1_366, 1_920][n % 4],
    ResolutionHeight: [0, 768, 1_080][n % 3],
    SearchEngineID: n % 5 === 0 ? 2 : 0,
    MobilePhone: n % 7,
    IsRefresh: n % 8 === 1 ? 1 : 0,
    DontCountHits: n % 11 === 2 ? 1 : 0,
    IsLink: n % 4 === 0 ? 1 : 0,
    IsDownload: n % 13 === 5 ? 1 : 0,
    TraficSourceID: [-1, 6, 3][n % 3],
    RefererHash: n % 4 === 0 ? 359_412_000 : n,
    URLHash: n % 6 === 0 ? 286_877_027 : n,
    WindowClientWidth: 800 + (n % 5),
    WindowClientHeight: 600 + (n % 3),
    OS: n % 9,
    JavaEnable: n % 2,
    Age: n % 60,
    URL: n % 19 === 4 ? '' : `http://${word?.replaceAll(' ', '.')}.example/${n % 12}`,
    Title: n % 10 === 0 ? '' : `${word} | Google ${n % 4}`,
    Referer: n % 4 === 1 ? '' : `https://www.host${n % 5}.example/page/${n % 3}`,
    SearchPhrase: n % 3 === 1 ? `${word} ${n % 5}` : '',
    MobilePhoneModel: n % 4 === 2 ? `model ${n % 6}` : '',
    BrowserLanguage: ['de', 'en', 'fr'][n % 3],
    EventTime: seen.toISOString(),
    EventDate: seen.toISOString().slice(0, 10),
  };
}

function tpchTables(): BenchmarkTable[] {
  return [
    {
      name: 'region',
      columns: { r_regionkey: 'BIGINT', r_name: 'VARCHAR', r_comment: 'VARCHAR' },
      rows: REGIONS.map((name, n) => ({ r_regionkey: n, r_name: name, r_comment: `region ${n}` })),
    },
    {
      name: 'nation',
      columns: { n_nationkey: 'BIGINT', n_name: 'VARCHAR', n_regionkey: 'BIGINT', n_comment: 'VARCHAR' },
      rows: NATIONS.map((name, n) => ({ n_nationkey: n, n_name: name, n_regionkey: REGION_OF_NATION[n], n_comment: `nation ${n}` })),
    },
    {
      name: 'supplier',
      columns: {
        s_suppkey: 'BIGINT',
        s_name: 'VARCHAR',
        s_address: 'VARCHAR',
        s_nationkey: 'BIGINT',
        s_phone: 'VARCHAR',
        s_acctbal: MONEY,
        s_comment: 'VARCHAR',
      },
      rows: count(12, (n) => ({
        s_suppkey: n,
        s_name: `Supplier#${n}`,
        s_address: `street ${n}`,
        s_nationkey: n % 10,
        s_phone: `${10 + n}-555`,
        s_acctbal: 10.5 * n - 20,
        s_comment: n % 6 === 5 ? 'many Customer slow Complaints' : 'quick',
      })),
    },
    {
      name: 'customer',
      columns: {
        c_custkey: 'BIGINT',
        c_name: 'VARCHAR',
        c_address: 'VARCHAR',
        c_nationkey: 'BIGINT',
        c_phone: 'VARCHAR',
        c_acctbal: MONEY,
        c_mktsegment: 'VARCHAR',
        c_comment: 'VARCHAR',
      },
      rows: count(36, (n) => ({
        c_custkey: n,
        c_name: `Customer#${n}`,
        c_address: `lane ${n}`,
        c_nationkey: (n * 7) % 10,
        c_phone: `${[13, 31, 23, 29, 44][n % 5]}-${n}`,
        c_acctbal: 31.25 * n - 50,
        c_mktsegment: SEGMENTS[n % 3],
        c_comment: `customer ${n}`,
      })),
    },
    {
      name: 'part',
      columns: {
        p_partkey: 'BIGINT',
        p_name: 'VARCHAR',
        p_mfgr: 'VARCHAR',
        p_brand: 'VARCHAR',
        p_type: 'VARCHAR',
        p_size: 'INTEGER',
        p_container: 'VARCHAR',
        p_retailprice: MONEY,
        p_comment: 'VARCHAR',
      },
      rows: count(30, (n) => ({
        p_partkey: n,
        p_name: `${COLORS[n % 5]} ${COLORS[(n + 2) % 5]}`,
        p_mfgr: `Manufacturer#${n % 3}`,
        p_brand: `Brand#${[12, 23, 34, 45][n % 4]}`,
        p_type: TYPES[n % 5],
        p_size: [15, 49, 3, 9, 5][n % 5],
        p_container: CONTAINERS[n % 4],
        p_retailprice: 900 + n * 1.5,
        p_comment: `part ${n}`,
      })),
    },
    {
      name: 'partsupp',
      columns: { ps_partkey: 'BIGINT', ps_suppkey: 'BIGINT', ps_availqty: 'BIGINT', ps_supplycost: MONEY, ps_comment: 'VARCHAR' },
      rows: count(90, (n) => ({
        ps_partkey: n % 30,
        ps_suppkey: (n + Math.floor(n / 30) * 5) % 12,
        ps_availqty: 5 + n * 3,
        ps_supplycost: 2.25 * (n % 40) + 1,
        ps_comment: `offer ${n}`,
      })),
    },
    orders(),
    lineitem(),
  ];
}

function orders(): BenchmarkTable {
  return {
    name: 'orders',
    columns: {
      o_orderkey: 'BIGINT',
      o_custkey: 'BIGINT',
      o_orderstatus: 'VARCHAR',
      o_totalprice: MONEY,
      o_orderdate: 'DATE',
      o_orderpriority: 'VARCHAR',
      o_clerk: 'VARCHAR',
      o_shippriority: 'BIGINT',
      o_comment: 'VARCHAR',
    },
    rows: count(120, (n) => ({
      o_orderkey: n,
      o_custkey: (n * 5) % 24,
      o_orderstatus: ['F', 'O', 'P'][n % 3],
      o_totalprice: 1_000 + n * 77.25,
      o_orderdate: orderDate(n),
      o_orderpriority: ['1-URGENT', '2-HIGH', '3-MEDIUM', '5-LOW'][n % 4],
      o_clerk: `Clerk#${n % 6}`,
      o_shippriority: 0,
      o_comment: n % 9 === 4 ? 'special and deferred requests' : `order ${n}`,
    })),
  };
}

function lineitem(): BenchmarkTable {
  return {
    name: 'lineitem',
    columns: {
      l_orderkey: 'BIGINT',
      l_partkey: 'BIGINT',
      l_suppkey: 'BIGINT',
      l_linenumber: 'BIGINT',
      l_quantity: MONEY,
      l_extendedprice: MONEY,
      l_discount: MONEY,
      l_tax: MONEY,
      l_returnflag: 'VARCHAR',
      l_linestatus: 'VARCHAR',
      l_shipdate: 'DATE',
      l_commitdate: 'DATE',
      l_receiptdate: 'DATE',
      l_shipinstruct: 'VARCHAR',
      l_shipmode: 'VARCHAR',
      l_comment: 'VARCHAR',
    },
    rows: count(480, (n) => {
      const order = n % 120;
      const offer = (n * 7) % 90;
      return {
        l_orderkey: order,
        l_partkey: offer % 30,
        l_suppkey: (offer + Math.floor(offer / 30) * 5) % 12,
        l_linenumber: Math.floor(n / 120) + 1,
        l_quantity: 1 + ((n * 3) % 50),
        l_extendedprice: 100 + n * 12.5,
        l_discount: (n % 11) / 100,
        l_tax: (n % 9) / 100,
        l_returnflag: ['A', 'N', 'R'][n % 3],
        l_linestatus: ['F', 'O'][n % 2],
        l_shipdate: dateAfter(orderDate(order), 5 + (n % 60)),
        l_commitdate: dateAfter(orderDate(order), 30),
        l_receiptdate: dateAfter(orderDate(order), 10 + (n % 70)),
        l_shipinstruct: INSTRUCTIONS[n % 3],
        l_shipmode: SHIP_MODES[n % 5],
        l_comment: `item ${n}`,
      };
    }),
  };
}

/** Spread over the seven years that TPC-H's dates lie in. */
function orderDate(n: number): string {
  return dateAfter('1992-01-01', (n * 41) % 2_400);
}

function dateAfter(date: string, days: number): string {
  return new Date(Date.parse(date) + days * DAY_MS).toISOString().slice(0, 10);
}

function count<T>(length: number, make: (n: number) => T): T[] {
  return Array.from({ length }, (_, n) => make(n));
}
