/** How large a statement's result may be, from its syntax tree alone. A guess that speed rests on, and never an answer. */
import type { Node } from './syntax-tree.js';

export interface ResultSize {
  /** Rows at most, as far as the statement says: by a LIMIT, or because it aggregates without groups. */
  readonly rowsMax: number;
  /** Columns that it names; each `*` adds those of the tables. */
  readonly columns: number;
  readonly hasStar: boolean;
}

const UNKNOWN_COLUMNS = 16;

/** @param aggregates names of functions that make one value of many rows */
export function resultSizeOf(statement: Node, aggregates: ReadonlySet<string>): ResultSize {
  const items = selectListOf(statement);
  const stars = items?.filter((item) => item['class'] === 'STAR').length ?? 0;
  const rowsMax = Math.min(limitOf(statement), isOneRow(statement, aggregates) ? 1 : Infinity);
  return { rowsMax, columns: items ? items.length - stars : UNKNOWN_COLUMNS, hasStar: stars > 0 };
}

/** Of a set operation the first arm has the columns of all. */
function selectListOf(node: Node): readonly Node[] | undefined {
  if (node['type'] === 'SET_OPERATION_NODE' && node['left']) return selectListOf(node['left'] as Node);
  return node['select_list'] as readonly Node[] | undefined;
}

function limitOf(node: Node): number {
  const limit = (node['modifiers'] as readonly Node[] | undefined)?.find(({ type }) => type === 'LIMIT_MODIFIER')?.['limit'] as
    Node | null | undefined;
  const value = limit?.['class'] === 'CONSTANT' ? (limit['value'] as Node)['value'] : undefined;
  return typeof value === 'number' ? value : Infinity;
}

function isOneRow(node: Node, aggregates: ReadonlySet<string>): boolean {
  const groups = node['group_expressions'] as unknown[] | undefined;
  return groups?.length === 0 && ((node['select_list'] as readonly Node[]) ?? []).some((item) => aggregatesIn(item, aggregates));
}

function aggregatesIn(node: Node, aggregates: ReadonlySet<string>): boolean {
  if (node['class'] === 'FUNCTION' && aggregates.has(String(node['function_name']))) return true;
  return [node['children'], node['child']]
    .flat()
    .some((child) => typeof child === 'object' && child !== null && aggregatesIn(child as Node, aggregates));
}
