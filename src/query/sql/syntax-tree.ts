/** The engine's syntax tree of a statement, as it prints it; only what is looked at in more than one place. */
export type Node = Readonly<Record<string, unknown>>;

/** @returns the column that an expression is, be it named with its table; undefined for any other expression */
export function columnName(node: Node, tableNames: readonly string[]): string | undefined {
  if (node['class'] !== 'COLUMN_REF') return undefined;
  const names = node['column_names'] as string[];
  if (names.length === 1) return names[0];
  return names.length === 2 && tableNames.includes((names[0] ?? '').toLowerCase()) ? names[1] : undefined;
}
