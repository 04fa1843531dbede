/**
 * Conditions that say which rows a key may read. They become part of the view that the key's queries read, so they must be one condition on the columns
 * of the table and nothing else: no subquery, no other table, nothing that varies, and no way out of the parentheses they will stand in.
 */
import { invalidArgument, messageOf } from '../common/app-error.js';
import type { SqlAnalyser } from '../query/sql/analyse.js';
import type { Node } from '../query/sql/syntax-tree.js';

export class RowConditions {
  constructor(private readonly analyser: SqlAnalyser) {}

  /** @throws AppError INVALID_ARGUMENT for anything but a condition on columns */
  async check(condition: string): Promise<void> {
    const statement = statementWith(condition);
    try {
      const { tables, fingerprint } = await this.analyser.analyse(statement);
      if (tables.length !== 1) throw new Error('it reads other tables');
      if (fingerprint === undefined) throw new Error('its result changes from one query to the next');
      const [given, plain] = [
        (await this.analyser.parse(statement)).statement,
        (await this.analyser.parse(statementWith('true'))).statement,
      ];
      if (textAround(given) !== textAround(plain)) throw new Error('it is more than a condition');
      const { class: kind, child } = given['where_clause'] as Node;
      // It left the parentheses where the cast is not of all of it.
      if (kind !== 'CAST') throw new Error('its parentheses do not match');
      assertPlain(child);
    } catch (error) {
      throw invalidArgument(`rows must be a condition on the columns of a table: ${messageOf(error)}`, [{ field: 'grants.rows' }]);
    }
  }
}

/** As it stands in a view: on lines of its own, because it may end in a comment. */
function statementWith(condition: string): string {
  return `SELECT 1 FROM t WHERE (${condition}\n)::BOOLEAN`;
}

/** The statement without its condition; where its parts stand in the text says nothing. */
function textAround(statement: Node): string {
  return JSON.stringify({ ...statement, where_clause: null }, (name, value: unknown) => (name === 'query_location' ? 0 : value));
}

/** @throws Error for a part that looks at more than one row */
function assertPlain(value: unknown): void {
  if (Array.isArray(value)) {
    value.forEach(assertPlain);
  } else if (typeof value === 'object' && value !== null) {
    const { class: kind } = value as Node;
    if (kind === 'SUBQUERY' || kind === 'WINDOW') throw new Error('it has a subquery or a window');
    if (kind === 'PARAMETER') throw new Error('it has a parameter');
    if (kind === 'STAR') throw new Error('it names no columns');
    Object.values(value).forEach(assertPlain);
  }
}
