/**
 * The columns that the footer of a Parquet file declares, with physical and logical type. The engine gives the footer's elements as they are; which
 * type it would make of a column is not asked here, because it takes some for what they are not.
 *
 * Source: `SchemaElement`, `ConvertedType` and `LogicalType` of parquet.thrift; "Nested Types" and their rules for old files in LogicalTypes.md.
 */
import { asNumber, type Engine, type Row } from '../duckdb/engine.js';
import { quoteText } from '../duckdb/sql-text.js';
import type { SourceField } from '../source-field.js';

/** A list takes two of them. */
const NESTING_MAX = 128;

/** An element of the footer with those below it. */
interface Element {
  readonly row: Row;
  readonly children: readonly Element[];
}

/** @throws Error for a footer that is damaged */
export async function parquetFields(engine: Engine, file: string): Promise<SourceField[]> {
  const rows = await engine.rows(
    `SELECT name, type, repetition_type, num_children, converted_type, scale, precision, logical_type FROM parquet_schema(${quoteText(file)})`,
  );
  return elementAt(rows, { at: 0 }).children.map(fieldOf);
}

/** Elements stand in depth-first order. */
function elementAt(rows: readonly Row[], position: { at: number }, depth = 0): Element {
  if (depth > NESTING_MAX) throw new Error(`the footer nests columns deeper than ${NESTING_MAX} levels`);
  const row = rows[position.at];
  if (!row) throw new Error('the footer declares more columns than it has');
  position.at += 1;
  const children: Element[] = [];
  for (let left = asNumber(row['num_children'] ?? 0); left > 0; left -= 1) children.push(elementAt(rows, position, depth + 1));
  return { row, children };
}

function fieldOf(element: Element): SourceField {
  // A repeated element outside of a LIST is a list of what it is.
  if (element.row['repetition_type'] === 'REPEATED') return { name: nameOf(element), type: 'LIST', children: [valueOf(element)] };
  return valueOf(element);
}

function valueOf(element: Element): SourceField {
  const { row, children } = element;
  const name = nameOf(element);
  const logical = logicalType(row);
  if (row['type'] !== null) {
    const decimal = logical === 'DECIMAL' ? { decimal: decimalOf(row) } : {};
    return { name, type: [row['type'], logical].filter(Boolean).join(' '), ...decimal, children: [] };
  }
  const [repeated, ...others] = children;
  if (repeated?.row['repetition_type'] === 'REPEATED' && others.length === 0) {
    if (logical === 'LIST') return { name, type: 'LIST', children: [elementOfList(repeated)] };
    if (logical === 'MAP' && repeated.children.length === 2) return { name, type: 'MAP', children: repeated.children.map(fieldOf) };
  }
  return { name, type: ['STRUCT', logical].filter(Boolean).join(' '), children: children.map(fieldOf) };
}

/** Old files have no level between the list and its elements. */
function elementOfList(repeated: Element): SourceField {
  const [only, ...others] = repeated.children;
  const name = nameOf(repeated);
  return only && others.length === 0 && name !== 'array' && !name.endsWith('_tuple') ? fieldOf(only) : valueOf(repeated);
}

function nameOf({ row }: Element): string {
  return String(row['name']);
}

/** The newer of the two annotations; both, where they say different things, so that it is a type that nobody knows. */
function logicalType(row: Row): string {
  const converted = String(row['converted_type'] ?? '')
    .replace(/^UTF8$/, 'STRING')
    .replace(/^MAP_KEY_VALUE$/, 'MAP');
  const logical = logicalName(String(row['logical_type'] ?? ''));
  if (logical === '' || converted === '') return logical || converted;
  return logical.replace(/ UTC$/, '') === converted ? logical : `${logical} (${converted})`;
}

/** The engine prints the structs of Thrift. */
function logicalName(text: string): string {
  const [, name = text, members = ''] = /^(\w+)Type\((.*)\)$/s.exec(text) ?? [];
  switch (name) {
    case 'Int': {
      // It prints the number of bits as the character of that code.
      const [, bits = '', signed] = /^bitWidth=(.*), isSigned=(.)$/s.exec(members) ?? [];
      return `${signed === '1' ? 'INT' : 'UINT'}_${/^\d+$/.test(bits) ? bits : bits.charCodeAt(0)}`;
    }
    case 'Timestamp':
    case 'Time': {
      const unit = ['MILLIS', 'MICROS', 'NANOS'].find((candidate) => new RegExp(`\\b${candidate}=\\w`).test(members)) ?? 'OTHER';
      const isUtc = name === 'Timestamp' && members.includes('isAdjustedToUTC=1');
      return `${name.toUpperCase()}_${unit}${isUtc ? ' UTC' : ''}`;
    }
    default:
      return name.toUpperCase();
  }
}

function decimalOf(row: Row): { precision: number; scale: number } {
  const text = String(row['logical_type'] ?? '');
  const said = (name: string): number => Number(new RegExp(`${name}=(\\d+)`).exec(text)?.[1] ?? row[name] ?? 0);
  return { precision: said('precision'), scale: said('scale') };
}
