/**
 * A statement without the values that are written in it, for logs: texts and numbers become `?`, comments go. Names stay, in quotes or not.
 *
 * Source of the tokens: "Lexical structure" of PostgreSQL's documentation, which DuckDB's parser follows. What does not end is cut off: better too
 * little in a log than a value.
 */
const TOKEN =
  /(?<escaped>[eE]'(?:[^'\\]|''|\\[\s\S])*(?:'|$))|(?<name>"(?:[^"]|"")*"|[A-Za-z_\u0080-\u{10ffff}][\w$\u0080-\u{10ffff}]*)|(?<space>\s+)|(?<comment>--[^\n]*)|(?<text>'(?:[^']|'')*(?:'|$)|\$(?<tag>\w*)\$[\s\S]*?(?:\$\k<tag>\$|$))|(?<number>0[xXbBoO][\da-fA-F_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?)|(?<open>"[\s\S]*)|(?<other>[\s\S])/uy;
const COMMENT_EDGE = /\/\*|\*\//g;

/** @param lengthMax characters that are wanted; what follows is not looked at, however long the statement */
export function redactSql(sql: string, lengthMax: number): string {
  let redacted = '';
  for (let at = 0; at < sql.length && redacted.length < lengthMax;) {
    if (sql.startsWith('/*', at)) {
      at = endOfComment(sql, at);
      redacted += ' ';
      continue;
    }
    TOKEN.lastIndex = at;
    const { groups = {}, 0: token = '' } = TOKEN.exec(sql) ?? {};
    // A character that is half of a pair is no token of its own.
    at += Math.max(1, token.length);
    if (groups['name'] !== undefined || groups['other'] !== undefined) redacted += token;
    else if (groups['space'] !== undefined || groups['comment'] !== undefined) redacted += ' ';
    else redacted += '?';
  }
  return redacted.replace(/ +/g, ' ').trim().slice(0, lengthMax);
}

/** Comments of this kind may stand in each other. */
function endOfComment(sql: string, start: number): number {
  COMMENT_EDGE.lastIndex = start;
  let depth = 0;
  for (let edge = COMMENT_EDGE.exec(sql); edge; edge = COMMENT_EDGE.exec(sql)) {
    depth += edge[0] === '/*' ? 1 : -1;
    if (depth === 0) return COMMENT_EDGE.lastIndex;
  }
  return sql.length;
}
