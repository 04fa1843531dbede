/** Reads the corpus of costly statements: titles, and statements some of which are too long to stand there in full. */

export interface CostlyStatement {
  readonly title: string;
  readonly sql: string;
}

/** Behind this line stand those that a run without COST_BOMBS=all leaves out. */
const MORE = /^=== .*$/m;
/** `{{first..last~between~text}}`, `#` in the text for the number and `#-1` for the one before it. */
const SERIES = /\{\{(\d+)\.\.(\d+)~(.*?)~(.*?)\}\}/gs;

export function costlyStatements(corpus: string): { core: CostlyStatement[]; more: CostlyStatement[] } {
  const [core = '', more = ''] = corpus.split(MORE);
  return { core: statementsOf(core), more: statementsOf(more) };
}

function statementsOf(text: string): CostlyStatement[] {
  const [, ...blocks] = text.split(/^### /m);
  return blocks.map((block) => {
    const [title = '', ...lines] = block.trimEnd().split('\n');
    return { title, sql: inFull(lines.join('\n')) };
  });
}

function inFull(sql: string): string {
  return sql.replaceAll(SERIES, (_match, first: string, last: string, between: string, text: string) => {
    const numbers = Array.from({ length: Number(last) - Number(first) + 1 }, (_, index) => Number(first) + index);
    return numbers.map((number) => text.replaceAll('#-1', String(number - 1)).replaceAll('#', String(number))).join(between);
  });
}
