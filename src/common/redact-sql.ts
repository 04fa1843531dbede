/**
 * A statement without the values that are written in it, for logs: texts and numbers become `?`, comments go. Names stay, in quotes or not.
 *
 * Source of the tokens: "Lexical structure" of PostgreSQL's documentation, which DuckDB's parser follows. What does not end is cut off: better too
 * little in a log than a value.
 */
const TOKENS =
  /(?<escaped>(?<![\w$\u0080-\uffff])[eE]'(?:[^'\\]|''|\\[\s\S])*(?:'|$))|(?<name>"(?:[^"]|"")*"|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*)|(?<space>\s+)|(?<comment>--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|(?<text>'(?:[^']|'')*(?:'|$)|\$(?<tag>\w*)\$[\s\S]*?(?:\$\k<tag>\$|$))|(?<number>0[xXbBoO][\da-fA-F_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?)|(?<open>"[\s\S]*)|(?<other>[\s\S])/gu;

export function redactSql(sql: string): string {
  let redacted = '';
  for (const { groups = {}, 0: token } of sql.matchAll(TOKENS)) {
    if (groups['name'] !== undefined || groups['other'] !== undefined) redacted += token;
    else if (groups['space'] !== undefined || groups['comment'] !== undefined) redacted += ' ';
    else redacted += '?';
  }
  return redacted.replace(/ +/g, ' ').trim();
}
