/** Names and values as SQL text. The only way a name reaches a statement; values of callers go in as parameters, never as text. */

/** A name in double quotes. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A string in single quotes; for file paths and keys of our own making. */
export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** A list of strings: `['a','b']`. */
export function quoteTextList(texts: readonly string[]): string {
  return `[${texts.map(quoteText).join(',')}]`;
}
