/** Names in requests, wherever a request has them: in its path, its query or its body. */

/** The table that a request names, whether there is one or not. Only a path calls it `name`: in a body that is a label of a key, or a misplaced value. */
export function tableNameIn(places: readonly unknown[]): string | undefined {
  const [path, ...others] = places;
  return textIn([path], 'table', 'table_name', 'name') ?? textIn(others, 'table', 'table_name');
}

/** The first text of one of these names. */
export function textIn(places: readonly unknown[], ...names: readonly string[]): string | undefined {
  for (const place of places) {
    if (typeof place !== 'object' || place === null) continue;
    for (const name of names) {
      const value = (place as Record<string, unknown>)[name];
      if (typeof value === 'string' && value !== '') return value;
    }
  }
  return undefined;
}
