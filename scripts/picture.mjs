/**
 * Draws the picture of the READMEs: docs/images/overview.svg and overview.zh.svg.
 *
 * As a command: npm run picture [-- FOLDER]
 *
 * It brings its own background, and colours for light and dark screens, so it can be read on any page.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = process.argv[2] ?? fileURLToPath(new URL('../docs/images/', import.meta.url));
const WIDTH = 1_084;
const HEIGHT = 480;
const LINE_HEIGHT = 18;

const LIGHT = { paper: '#ffffff', ink: '#1f2328', soft: '#57606a', frame: '#d0d7de', box: '#f6f8fa', write: '#0969da', read: '#1a7f37' };
const DARK = { paper: '#0d1117', ink: '#e6edf3', soft: '#9da7b3', frame: '#3d444d', box: '#161b22', write: '#58a6ff', read: '#3fb950' };

const ENGLISH = {
  title:
    'How data moves through MinIODB: writes go to a log and a buffer and are acknowledged, flushes turn them into Parquet files in the object store, queries read both.',
  server: 'MinIODB (one process)',
  writers: ['Writers', 'REST and gRPC:', 'JSON, NDJSON, CSV,', 'Parquet, Arrow'],
  readers: ['Readers', 'SQL over REST and gRPC:', 'JSON, NDJSON, CSV,', 'Parquet, Arrow'],
  log: ['Write-ahead log', 'local disk, one fsync', 'for many requests'],
  buffer: ['Buffers', 'DuckDB tables in memory,', 'visible to the next query'],
  sql: ['SQL', 'embedded DuckDB reads files and buffers', 'as one table, on one snapshot'],
  store: [
    'Object store',
    'local directory or S3 bucket',
    '',
    'Delta Lake tables:',
    'Parquet files,',
    'deletion vectors,',
    'transaction log',
  ],
  engines: ['Other engines', 'ClickHouse, Spark, Trino,', 'DuckDB … (read only)'],
  redis: ['Redis', 'optional: several nodes'],
  backup: ['Backup bucket', 'optional: backups and a copy'],
  write: 'write',
  acknowledged: 'acknowledged',
  apply: 'apply',
  flush: 'flush',
  query: 'query',
  rows: 'rows',
  fresh: 'fresh rows',
  files: 'files',
};

const CHINESE = {
  title: '数据在 MinIODB 中的流动：写入先进日志和缓冲区并得到确认，刷写把它们变成对象存储中的 Parquet 文件，查询同时读取两者。',
  server: 'MinIODB（单进程）',
  writers: ['写入方', 'REST 与 gRPC：', 'JSON、NDJSON、CSV、', 'Parquet、Arrow'],
  readers: ['查询方', 'REST 与 gRPC 上的 SQL：', 'JSON、NDJSON、CSV、', 'Parquet、Arrow'],
  log: ['预写日志', '本地磁盘，多个请求', '共用一次 fsync'],
  buffer: ['缓冲区', '内存中的 DuckDB 表，', '下一次查询即可见'],
  sql: ['SQL', '内嵌 DuckDB 把文件和缓冲区', '当作一张表，在同一快照上读取'],
  store: ['对象存储', '本地目录或 S3 存储桶', '', 'Delta Lake 表：', 'Parquet 文件、', '删除向量、', '事务日志'],
  engines: ['其他引擎', 'ClickHouse、Spark、Trino、', 'DuckDB 等（只读）'],
  redis: ['Redis', '可选：多节点'],
  backup: ['备份存储桶', '可选：备份与副本'],
  write: '写入',
  acknowledged: '确认',
  apply: '应用',
  flush: '刷写',
  query: '查询',
  rows: '结果',
  fresh: '新数据',
  files: '文件',
};

mkdirSync(FOLDER, { recursive: true });
for (const [name, words] of [
  ['overview.svg', ENGLISH],
  ['overview.zh.svg', CHINESE],
])
  writeFileSync(path.join(FOLDER, name), picture(words));

function picture(words) {
  const parts = [
    `<rect class="frame" x="316" y="24" width="470" height="336" rx="10"/>`,
    `<text class="head" x="551" y="50" text-anchor="middle">${words.server}</text>`,
    box(20, 68, 196, 104, words.writers),
    box(20, 236, 196, 104, words.readers),
    box(336, 76, 180, 88, words.log),
    box(568, 76, 198, 88, words.buffer),
    box(336, 244, 430, 88, words.sql),
    box(856, 68, 208, 182, words.store),
    box(856, 284, 208, 76, words.engines),
    box(336, 396, 208, 60, words.redis, 'optional'),
    box(558, 396, 208, 60, words.backup, 'optional'),
    arrow('write', 'M216 102 H334', words.write, 266, 94),
    arrow('write', 'M336 142 H218', words.acknowledged, 266, 160),
    arrow('write', 'M516 120 H566', words.apply, 541, 112),
    arrow('write', 'M766 120 H854', words.flush, 820, 112),
    arrow('read', 'M667 164 V242', words.fresh, 677, 208, 'start'),
    arrow('read', 'M856 216 H820 V288 H768', words.files, 828, 256, 'start'),
    arrow('read', 'M216 270 H334', words.query, 266, 262),
    arrow('read', 'M336 310 H218', words.rows, 266, 328),
    arrow('read', 'M960 250 V282'),
    `<path class="link" d="M440 360 V396 M662 360 V396"/>`,
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="title">
<title id="title">${words.title}</title>
<style>
${colours(LIGHT)}
@media (prefers-color-scheme: dark) {
${colours(DARK)}
}
text { font-family: -apple-system, "Segoe UI", Roboto, "Noto Sans", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; font-size: 13px; }
.head { font-size: 15px; font-weight: 600; }
.frame, .box, .link { stroke-width: 1.5; }
.optional, .link { stroke-dasharray: 5 4; }
.arrow, .link { fill: none; }
.arrow { stroke-width: 2; }
</style>
<defs>${head('write')}${head('read')}</defs>
<rect class="paper" width="${WIDTH}" height="${HEIGHT}" rx="10"/>
${parts.join('\n')}
</svg>
`;
}

function colours({ paper, ink, soft, frame, box: boxColour, write, read }) {
  return `.paper { fill: ${paper}; } .frame { fill: none; stroke: ${frame}; } .box { fill: ${boxColour}; stroke: ${frame}; } .link { stroke: ${frame}; }
text { fill: ${soft}; } .head { fill: ${ink}; }
.arrow.write { stroke: ${write}; } .label.write, .tip.write { fill: ${write}; } .arrow.read { stroke: ${read}; } .label.read, .tip.read { fill: ${read}; }`;
}

/** A box with a heading and lines of text below it, all in its middle. */
function box(x, y, width, height, [heading, ...lines], extra = '') {
  const middle = x + width / 2;
  const first = y + (height - lines.length * LINE_HEIGHT) / 2 + 2;
  const texts = lines.map(
    (line, index) => `<text x="${middle}" y="${first + (index + 1) * LINE_HEIGHT}" text-anchor="middle">${line}</text>`,
  );
  return [
    `<rect class="box ${extra}" x="${x}" y="${y}" width="${width}" height="${height}" rx="8"/>`,
    `<text class="head" x="${middle}" y="${first}" text-anchor="middle">${heading}</text>`,
    ...texts,
  ].join('\n');
}

function arrow(kind, line, label = '', x = 0, y = 0, anchor = 'middle') {
  const text = label === '' ? '' : `\n<text class="label ${kind}" x="${x}" y="${y}" text-anchor="${anchor}">${label}</text>`;
  return `<path class="arrow ${kind}" d="${line}" marker-end="url(#${kind})"/>${text}`;
}

function head(kind) {
  return `<marker id="${kind}" markerWidth="5" markerHeight="5" refX="4" refY="2.5" orient="auto"><path class="tip ${kind}" d="M0 0 L5 2.5 L0 5 Z"/></marker>`;
}
