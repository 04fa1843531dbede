/**
 * Statements that ask for nothing but the number of rows of a whole table and the extremes of its columns: `SELECT count(*), min(a), max(a) FROM t`.
 * Both are in the log, file by file, so most files need not be read; the engine does that by itself only for a single file without hidden rows. Conservative
 * by contract: any other part in the statement, and it is run as it stands.
 */
import { quoteName } from '../../engine/duckdb/sql-text.js';
import type { ReadView } from '../../tables/view/read-view.js';
import { columnName, type Node } from './syntax-tree.js';

type Value =
  | { readonly kind: 'count' }
  | { readonly kind: 'min' | 'max'; readonly column: string }
  | { readonly kind: 'number'; readonly value: number };

/** `name` of its column in the result; undefined where the engine would make one up. */
export type SummaryItem = Value & { readonly name: string | undefined };

/** Parts of a SELECT that must be absent. */
const OTHER_PARTS = ['where_clause', 'having', 'sample', 'qualify'] as const;

/** @returns what the statement asks for, in its order; undefined when it is of another kind */
export function summaryOf(select: Node): readonly SummaryItem[] | undefined {
  const from = select['from_table'] as Node | null;
  if (select['type'] !== 'SELECT_NODE' || from?.['type'] !== 'BASE_TABLE' || from['sample']) return undefined;
  if (OTHER_PARTS.some((part) => select[part]) || select['aggregate_handling'] !== 'STANDARD_HANDLING') return undefined;
  const lists = [select['modifiers'], select['group_expressions'], (select['cte_map'] as { map: unknown }).map, from['column_name_alias']];
  if (lists.some((list) => (list as unknown[]).length > 0)) return undefined;
  const names = [from['alias'] === '' ? from['table_name'] : from['alias']].map((name) => String(name).toLowerCase());
  const items = (select['select_list'] as Node[]).map((node) => itemOf(node, names));
  const isSummary = items.every((item) => item !== undefined) && items.some((item) => item.kind !== 'number');
  return isSummary ? items : undefined;
}

function itemOf(node: Node, tableNames: readonly string[]): SummaryItem | undefined {
  const value = valueOf(node, tableNames);
  if (!value) return undefined;
  const alias = node['alias'] === '' ? undefined : String(node['alias']);
  return { ...value, name: alias ?? (value.kind === 'count' ? 'count_star()' : undefined) };
}

function valueOf(node: Node, tableNames: readonly string[]): Value | undefined {
  if (node['class'] === 'CONSTANT') return numberOf(node['value'] as Node);
  const isPlain = node['class'] === 'FUNCTION' && !node['filter'] && node['distinct'] === false && node['export_state'] === false;
  if (!isPlain || node['schema'] || node['catalog'] || (node['order_bys'] as { orders: unknown[] }).orders.length > 0) return undefined;
  const children = node['children'] as Node[];
  const name = node['function_name'];
  if (name === 'count_star' && children.length === 0) return { kind: 'count' };
  const [argument] = children;
  if ((name !== 'min' && name !== 'max') || children.length !== 1 || !argument) return undefined;
  const column = columnName(argument, tableNames);
  return column === undefined ? undefined : { kind: name, column };
}

function numberOf({ type, is_null: isNull, value }: Node): Value | undefined {
  const isInteger = (type as Node)['id'] === 'INTEGER' && isNull === false && typeof value === 'number';
  return isInteger ? { kind: 'number', value } : undefined;
}

/**
 * SQL with the same values as the statement, from what the log has; under the same names where all of them are known.
 * @returns undefined when the log says too little
 */
export async function summarySql(items: readonly SummaryItem[], view: ReadView): Promise<string | undefined> {
  const values: string[] = [];
  for (const item of items) {
    if (item.kind === 'number') {
      values.push(String(item.value));
      continue;
    }
    if (item.kind === 'count') {
      values.push(`(${await view.countSql()})`);
      continue;
    }
    const column = view.schema.column(item.column);
    const rows = column && (await view.extremesSql(column));
    if (!column || rows === undefined) return undefined;
    values.push(`(SELECT ${item.kind}(${quoteName(column.name)}) FROM (${rows}))`);
  }
  return `SELECT ${values.map((value, index) => `${value} AS ${quoteName(items[index]?.name ?? `v${index}`)}`).join(', ')}`;
}
