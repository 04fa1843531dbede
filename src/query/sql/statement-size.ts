/**
 * How large a statement may be. The engine looks at its deadline and its memory while rows flow, not while it plans, and planning takes more than
 * its share of time for each join, arm of a union and condition; a name that is defined with WITH and used twice counts twice, which doubles again
 * in the next definition.
 */
import { AppError } from '../../common/app-error.js';
import type { Node } from './syntax-tree.js';

/** Characters of the syntax tree as the engine prints it: some 200 for a literal, 1,000 for a condition. The event loop reads it in one go. */
const TREE_CHARACTERS_MAX = 16 * 1_024 * 1_024;

/** For each part that is counted: how many there may be, and what the caller can do instead. */
const LIMITS = {
  expressions: { max: 20_000, hint: 'put long lists of values into IN (...) or a parameter' },
  joins: { max: 64, hint: 'join fewer tables at once' },
  'arms of set operations': { max: 500, hint: 'put values into VALUES or a parameter' },
  'columns of a result': { max: 4_096, hint: 'ask for fewer columns at once' },
  'values of a PIVOT': { max: 1_000, hint: 'group by the column instead' },
  'subqueries within one another': { max: 20, hint: 'use joins' },
  'characters of a time format': { max: 1_000, hint: 'write a shorter one' },
  'lambdas within one another': { max: 6, hint: 'unnest the lists' },
} as const;

type Part = keyof typeof LIMITS;

/** @throws AppError INVALID_ARGUMENT */
export function assertReadableTree(tree: string): void {
  if (tree.length > TREE_CHARACTERS_MAX)
    throw new AppError(
      'INVALID_ARGUMENT',
      `the statement is too large: ${tree.length} characters of syntax tree, at most ${TREE_CHARACTERS_MAX}; ${LIMITS.expressions.hint}`,
    );
}

/** @throws AppError INVALID_ARGUMENT naming what there is too much of */
export function assertPlannable(statement: Node): void {
  visit(statement, { definitions: new Map(), columns: new Map(), subqueries: 0, lambdas: 0 });
}

/** Expressions that stand behind each column, by its name in lower case. */
type Columns = ReadonlyMap<string, number>;

/** What a part comes to, with the definitions that it uses put in. */
interface Size {
  expressions: number;
  joins: number;
  arms: number;
  /** Of a query or a table: its columns that are more than columns. */
  columns: Columns;
}

/** Where a part stands. */
interface Place {
  readonly definitions: ReadonlyMap<string, Size>;
  /** Of what the query around it reads. */
  readonly columns: Columns;
  /** So many of each it stands in. */
  readonly subqueries: number;
  readonly lambdas: number;
}

const NO_COLUMNS: Columns = new Map();

function visit(value: unknown, place: Place): Size {
  const size: Size = { expressions: 0, joins: 0, arms: 0, columns: NO_COLUMNS };
  if (Array.isArray(value)) for (const child of value) add(size, visit(child, place));
  else if (typeof value === 'object' && value !== null) visitNode(value as Node, place, size);
  assertWithin('expressions', size.expressions);
  assertWithin('joins', size.joins);
  assertWithin('arms of set operations', size.arms);
  return size;
}

function visitNode(node: Node, outside: Place, size: Size): void {
  // Literals cost next to nothing.
  if (node['class'] === 'CONSTANT') return;
  let place: Place = {
    ...outside,
    definitions: definitionsOf(node, outside),
    subqueries: outside.subqueries + (node['class'] === 'SUBQUERY' ? 1 : 0),
    lambdas: outside.lambdas + (node['class'] === 'LAMBDA' ? 1 : 0),
  };
  assertNode(node, place);
  size.expressions += expressionsOf(node, place);
  if (node['type'] === 'JOIN') size.joins += 1;
  if (node['type'] === 'SET_OPERATION_NODE') size.arms += 1;
  if (node['type'] === 'BASE_TABLE') add(size, place.definitions.get(lowerCase(node['table_name'])));
  const isSelect = node['type'] === 'SELECT_NODE';
  if (isSelect) {
    const from = visit(node['from_table'], place);
    add(size, from);
    place = { ...place, columns: from.columns };
  }
  for (const [key, child] of Object.entries(node))
    if (key !== 'cte_map' && !(isSelect && (key === 'from_table' || key === 'select_list'))) add(size, visit(child, place));
  if (isSelect) size.columns = visitSelectList(node['select_list'] as Node[], place, size);
}

/** @returns the columns that are made, and what stands behind them */
function visitSelectList(items: readonly Node[], place: Place, size: Size): Columns {
  const columns = new Map<string, number>();
  for (const item of items) {
    const own = visit(item, place);
    add(size, own);
    const name = item['alias'] === '' ? (item['column_names'] as string[] | undefined)?.at(-1) : item['alias'];
    if (item['class'] === 'STAR') for (const [column, count] of place.columns) columns.set(column, count);
    else if (name !== undefined && own.expressions > 1) columns.set(lowerCase(name), own.expressions);
  }
  size.columns = NO_COLUMNS;
  return columns;
}

function expressionsOf(node: Node, { columns }: Place): number {
  if (node['class'] !== 'COLUMN_REF') return node['class'] === undefined ? 0 : 1;
  return columns.get(lowerCase((node['column_names'] as string[]).at(-1))) ?? 1;
}

function definitionsOf(node: Node, place: Place): ReadonlyMap<string, Size> {
  const map = (node['cte_map'] as { map?: readonly { key: string; value: Node }[] } | undefined)?.map ?? [];
  if (map.length === 0) return place.definitions;
  const definitions = new Map(place.definitions);
  for (const { key, value } of map) {
    const size = visit(value, { ...place, definitions });
    const aliases = (value['aliases'] as string[] | undefined) ?? [];
    // Which alias is which column is not looked at.
    const heaviest = Math.max(1, ...size.columns.values());
    definitions.set(key.toLowerCase(), {
      ...size,
      columns: new Map([...size.columns, ...aliases.map((alias) => [lowerCase(alias), heaviest] as const)]),
    });
  }
  return definitions;
}

function add(to: Size, more: Size | undefined): void {
  if (!more) return;
  to.expressions += more.expressions;
  to.joins += more.joins;
  to.arms += more.arms;
  if (more.columns.size === 0) return;
  const columns = new Map(to.columns);
  for (const [name, count] of more.columns) columns.set(name, Math.max(count, columns.get(name) ?? 0));
  to.columns = columns;
}

function lowerCase(name: unknown): string {
  return String(name).toLowerCase();
}

function assertNode(node: Node, place: Place): void {
  assertWithin('subqueries within one another', place.subqueries);
  assertWithin('lambdas within one another', place.lambdas);
  if (Array.isArray(node['select_list'])) assertWithin('columns of a result', node['select_list'].length);
  if (Array.isArray(node['pivots'])) assertWithin('values of a PIVOT', pivotValues(node['pivots'] as Node[]));
  const name = String(node['function_name']);
  if (/^strf?p?time$/.test(name)) assertShortFormat(node);
  if (node['class'] === 'WINDOW' && name === 'mad')
    throw new AppError(
      'INVALID_ARGUMENT',
      'mad cannot be used over a window, because its time grows with the square of the rows; group by the column instead',
    );
}

/** Every value of one column of a PIVOT stands beside every value of the others. */
function pivotValues(pivots: readonly Node[]): number {
  return pivots.reduce((product, pivot) => product * Math.max(1, (pivot['entries'] as unknown[] | undefined)?.length ?? 1), 1);
}

function assertShortFormat(call: Node): void {
  for (const child of call['children'] as Node[]) {
    const text = (child['value'] as Node | undefined)?.['value'];
    if (typeof text === 'string') assertWithin('characters of a time format', text.length);
  }
}

function assertWithin(part: Part, count: number): void {
  const { max, hint } = LIMITS[part];
  if (count > max)
    throw new AppError(
      'INVALID_ARGUMENT',
      `the statement is too large: ${count} ${part}, at most ${max} (definitions count each time they are used); ${hint}`,
    );
}
