/**
 * SQL that reads a table's rows from where they are: data files, bulk files and buffers, minus what the masks hide. Everything that looks at rows
 * is built from here: queries, the search for ids, flush, compaction. Files without hidden rows are read plainly, so deletes cost only where they are.
 */
import { quoteName, quoteText, quoteTextList } from '../../engine/duckdb/sql-text.js';
import {
  type Column,
  type ColumnType,
  ID_COLUMN,
  ID_FIELD_ID,
  LSN_COLUMN,
  LSN_FIELD_ID,
  type TableSchema,
} from '../../delta/table-schema.js';
import type { Generation } from '../generation.js';
import type { Masks } from './masks.js';
import type { ResidentPart } from './resident-rows.js';

/** Where a row stands in the masks. The prefix is refused in names of payload fields. */
export const SOURCE_COLUMN = '_miniodb_source';
export const POSITION_COLUMN = '_miniodb_position';
/** Of a resident row: the number of the load that brought it. */
export const LOAD_COLUMN = '_miniodb_load';

/** A Parquet file that the engine can open. */
export interface OpenFile {
  readonly path: string;
  /** Its number in the masks. */
  readonly source: number;
  readonly lsnBase: number | undefined;
  /** It was written with every column that is read, under the same names. */
  readonly hasEveryColumn: boolean;
}

export interface RowSources {
  readonly schema: TableSchema;
  readonly masks: Masks;
  readonly files: readonly OpenFile[];
  readonly generations: readonly Generation[];
  /** Rows of files that are not among `files`; without their places. */
  readonly residents?: readonly ResidentPart[];
  /** SQL of the LSN up to which rows and masks count. */
  readonly lsn: string;
}

export interface RowSelection {
  readonly columns: readonly Column[];
  /** Adds the place of a row in the masks, and its LSN. */
  readonly withPlace: boolean;
  /** Rows that a query sees, or the soft-deleted ones. */
  readonly rows: 'visible' | 'soft';
  /** Condition on the columns, applied in every branch so that files can be pruned. */
  readonly where?: string;
}

/** A SELECT over all sources; without any, one of no rows with the right types. */
export function selectRows(sources: RowSources, selection: RowSelection): string {
  const branches = [
    ...fileBranches(sources, selection),
    ...(sources.residents ?? []).map((part) => residentBranch(sources, selection, part)),
    ...sources.generations.flatMap((generation) => generationBranch(sources, selection, generation)),
  ];
  if (branches.length === 1 || (branches.length > 0 && selection.withPlace)) return branches.join('\nUNION ALL\n');
  if (branches.length > 0) return unionOf(branches, selection.columns);
  const typed = selection.columns.map((column) => `NULL::${column.type} AS ${quoteName(column.name)}`);
  const place = selection.withPlace
    ? [`NULL::INTEGER AS ${SOURCE_COLUMN}`, `NULL::BIGINT AS ${POSITION_COLUMN}`, `NULL::BIGINT AS ${LSN_COLUMN}`]
    : [];
  return `SELECT ${[...typed, ...place].join(', ')} WHERE false`;
}

/** Where a query asks for no column at all (a count), the engine reads the first one of each branch: let that be one that costs nothing. */
function unionOf(branches: readonly string[], columns: readonly Column[]): string {
  const all = branches.map((branch) => `SELECT 0::TINYINT AS _miniodb_nothing, * FROM (${branch})`);
  return `SELECT ${columns.map((column) => quoteName(column.name)).join(', ')} FROM (\n${all.join('\nUNION ALL\n')}\n)`;
}

function fileBranches(sources: RowSources, selection: RowSelection): string[] {
  const { schema, masks } = sources;
  const masked = sources.files.filter((file) => masks.isMasked(file.source));
  if (selection.rows === 'soft') return filesBranches(schema, selection, masked, sources);
  const clean = sources.files.filter((file) => !masks.isMasked(file.source));
  return [...filesBranches(schema, selection, clean, undefined), ...filesBranches(schema, selection, masked, sources)];
}

/** What hides rows; undefined where none is hidden, or hidden ones are wanted, too. */
type Hiding = Pick<RowSources, 'masks' | 'lsn'> | undefined;

/** Files that can be read in the same way share a branch. */
function filesBranches(schema: TableSchema, selection: RowSelection, files: readonly OpenFile[], hiding: Hiding): string[] {
  const byName = isReadableByName(schema) ? files.filter((file) => file.hasEveryColumn) : [];
  const groups = [
    ...(selection.withPlace ? [byName.filter(hasLsnColumn), byName.filter((file) => !hasLsnColumn(file))] : [byName]),
    files.filter((file) => !byName.includes(file)),
  ];
  return groups.filter((group) => group.length > 0).map((group) => filesBranch(schema, selection, group, hiding));
}

function hasLsnColumn(file: OpenFile): boolean {
  return file.lsnBase === undefined;
}

function filesBranch(schema: TableSchema, selection: RowSelection, files: readonly OpenFile[], hiding: Hiding): string {
  const reader = byNameOrFieldId(schema, files);
  const select = [
    ...selection.columns.map((column) => `${reader.column(column)} AS ${quoteName(column.name)}`),
    ...(selection.withPlace
      ? [`f.source AS ${SOURCE_COLUMN}`, `r.file_row_number AS ${POSITION_COLUMN}`, `${reader.lsn} AS ${LSN_COLUMN}`]
      : []),
  ];
  const list = files.map((file, index) => `(${index}, ${file.source}, ${file.lsnBase ?? 'NULL'}::BIGINT)`).join(', ');
  const fileList = `(VALUES ${list}) f(file_index, source, lsn_base)`;
  const from = [`FROM ${reader.files} r`];
  if (selection.withPlace) from.push(`JOIN ${fileList} ON f.file_index = r.file_index`);
  if (hiding) {
    const { masks, lsn } = hiding;
    const soft = selection.rows === 'soft' ? ` AND ${softAsOf(lsn)}` : '';
    const hidden = `SELECT f.file_index, m.pos FROM ${masks.table} m JOIN ${fileList} ON m.source = f.source WHERE m.since <= ${lsn}${soft}`;
    from.push(
      `${selection.rows === 'soft' ? 'SEMI' : 'ANTI'} JOIN (${hidden}) h ON h.file_index = r.file_index AND h.pos = r.file_row_number`,
    );
  }
  const rows = `SELECT ${select.join(', ')} ${from.join(' ')}`;
  return selection.where ? `SELECT * FROM (${rows}) WHERE ${selection.where}` : rows;
}

/** How a group of files is read: the reader's call, and in its words a column and the LSN. */
interface FileReader {
  readonly files: string;
  readonly column: (column: Column) => string;
  readonly lsn: string;
}

/** The reader's own columns; a payload field of such a name would be taken for it. */
const READER_COLUMNS = ['file_row_number', 'file_index', 'filename', 'file_name'];

/** Types that a file's own column has already: a cast would do nothing, and take its part of each plan of a wide table. */
const STORED_AS_IT_IS: ReadonlySet<ColumnType> = new Set(['BIGINT', 'INTEGER', 'BOOLEAN', 'VARCHAR', 'TIMESTAMPTZ', 'DATE']);

function isReadableByName(schema: TableSchema): boolean {
  return READER_COLUMNS.every((name) => schema.column(name) === undefined);
}

/**
 * Files that hold every column are read by name: the engine keeps their dictionaries and pushes more into the scan, which makes grouping and sorting
 * about twice as fast as by field id. The others are read by field id: one from before a column was added gives NULL there.
 */
function byNameOrFieldId(schema: TableSchema, files: readonly OpenFile[]): FileReader {
  const paths = files.map((file) => file.path);
  if (isReadableByName(schema) && files.every((file) => file.hasEveryColumn)) {
    return {
      files: `read_parquet(${quoteTextList(paths)}, hive_partitioning = false)`,
      column: (column) => `r.${quoteName(column.name)}${STORED_AS_IT_IS.has(column.type) ? '' : `::${column.type}`}`,
      lsn: files.every(hasLsnColumn) ? `r.${LSN_COLUMN}` : 'f.lsn_base + r.file_row_number',
    };
  }
  const fields = [...schema.columns, { fieldId: LSN_FIELD_ID, type: 'BIGINT' }].map(
    ({ fieldId, type }) => `${fieldId}: {name: '${fileColumn(fieldId)}', type: ${quoteText(type)}, default_value: NULL}`,
  );
  return {
    files: `read_parquet(${quoteTextList(paths)}, schema = MAP {${fields.join(', ')}})`,
    column: (column) => `r.${fileColumn(column.fieldId)}`,
    lsn: `coalesce(f.lsn_base + r.file_row_number, r.${fileColumn(LSN_FIELD_ID)})`,
  };
}

/** The rows of data files with nothing but their LSN; `file_index` and `file_row_number` say where each stands. */
export function readLsns(paths: readonly string[]): string {
  return `read_parquet(${quoteTextList(paths)}, schema = MAP {${LSN_FIELD_ID}: {name: '${LSN_COLUMN}', type: 'BIGINT', default_value: NULL}})`;
}

/** The rows of a data file with nothing but their id, by its field id: its other columns may have the names of the reader's options. */
export function readIds(path: string): string {
  return `read_parquet(${quoteText(path)}, schema = MAP {${ID_FIELD_ID}: {name: '${ID_COLUMN}', type: 'VARCHAR', default_value: NULL}})`;
}

function fileColumn(fieldId: number): string {
  return `c${fieldId}`;
}

/** Every row of data files, hidden ones included, with its place in the masks. */
export function storedRows(schema: TableSchema, files: readonly OpenFile[]): string {
  const selection: RowSelection = { columns: schema.columns, withPlace: true, rows: 'visible' };
  const branches = filesBranches(schema, selection, files, undefined);
  return `SELECT * EXCLUDE (${LSN_COLUMN}) FROM (${branches.join('\nUNION ALL\n')})`;
}

function residentBranch({ masks, lsn }: RowSources, { columns }: RowSelection, { table, loads, present, absent }: ResidentPart): string {
  const select = columns.map((column) => {
    const known = table.schema.column(column.name);
    const isHeld = known?.fieldId === column.fieldId && known.type === column.type;
    return isHeld ? `r.${quoteName(column.name)}` : `NULL::${column.type} AS ${quoteName(column.name)}`;
  });
  const place = `r.${SOURCE_COLUMN}`;
  const conditions = [`r.${LOAD_COLUMN} <= ${loads}`];
  if (absent.length > present.size) conditions.push(`${place} IN (${[...present].join()})`);
  else if (absent.length > 0) conditions.push(`${place} NOT IN (${absent.join()})`);
  const masked = [...present].filter((source) => masks.isMasked(source));
  const hidden =
    masked.length === 0
      ? ''
      : ` ANTI JOIN (SELECT m.source, m.pos FROM ${masks.table} m WHERE m.since <= ${lsn} AND m.source IN (${masked.join()})) h ON h.source = ${place} AND h.pos = r.${POSITION_COLUMN}`;
  return `SELECT ${select.join(', ')} FROM ${table.name} r${hidden} WHERE ${conditions.join(' AND ')}`;
}

function generationBranch(sources: RowSources, selection: RowSelection, generation: Generation): string[] {
  const { schema, source, bufferTable } = generation;
  if (schema === undefined || generation.rows === 0) return [];
  const isMasked = sources.masks.isMasked(source);
  if (selection.rows === 'soft' && !isMasked) return [];
  const select = [
    ...selection.columns.map((column) =>
      schema.column(column.name) ? `r.${quoteName(column.name)}` : `NULL::${column.type} AS ${quoteName(column.name)}`,
    ),
    ...(selection.withPlace ? [`${source} AS ${SOURCE_COLUMN}`, `r.${LSN_COLUMN} AS ${POSITION_COLUMN}`, `r.${LSN_COLUMN}`] : []),
  ];
  const soft = selection.rows === 'soft' ? ` AND ${softAsOf(sources.lsn)}` : '';
  const hidden = isMasked
    ? ` ${selection.rows === 'soft' ? 'SEMI' : 'ANTI'} JOIN (SELECT m.pos FROM ${sources.masks.table} m WHERE m.source = ${source} AND m.since <= ${sources.lsn}${soft}) h ON h.pos = r.${LSN_COLUMN}`
    : '';
  const condition = selection.where ? ` AND (${selection.where})` : '';
  return [`SELECT ${select.join(', ')} FROM ${bufferTable} r${hidden} WHERE r.${LSN_COLUMN} <= ${sources.lsn}${condition}`];
}

/** Condition on a mask `m`: its row could be restored at an LSN. One that was restored or deleted for good later still could be then. */
export function softAsOf(lsn: string): string {
  return `(m.soft OR m.changed > ${lsn})`;
}

/** Select list for a data file: JSON goes as text, and every column has its field id. */
export function parquetSelect(columns: readonly Column[]): string {
  return columns
    .map((column) => (column.type === 'JSON' ? `${quoteName(column.name)}::VARCHAR AS ${quoteName(column.name)}` : quoteName(column.name)))
    .join(', ');
}

/** The FIELD_IDS option of COPY. */
export function fieldIds(columns: readonly Column[], withLsn: boolean): string {
  const ids = columns.map((column) => `${quoteName(column.name)}: ${column.fieldId}`);
  if (withLsn) ids.push(`${LSN_COLUMN}: ${LSN_FIELD_ID}`);
  return `{${ids.join(', ')}}`;
}
