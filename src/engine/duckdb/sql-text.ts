/** Names and values as SQL text. The only way a name reaches a statement; values of callers go in as parameters, never as text. */

/** A name in double quotes. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A string in single quotes. The engine ends a statement at a zero byte, so one in the string becomes an expression. */
export function quoteText(text: string): string {
  const parts = text.split('\0').map((part) => `'${part.replaceAll("'", "''")}'`);
  return parts.length === 1 ? parts.join() : `(${parts.join(' || chr(0) || ')})`;
}

/** A list of strings: `['a','b']`. */
export function quoteTextList(texts: readonly string[]): string {
  return `[${texts.map(quoteText).join(',')}]`;
}
