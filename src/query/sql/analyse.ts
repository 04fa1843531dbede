/**
 * The first lock on callers' SQL: what a statement is and what it touches, from the engine's own parser. Only one SELECT passes; every table it
 * names must be one of ours or a name that the statement itself defines; functions that reach files, settings or other statements are refused.
 * Nothing here looks at the text: comments, quotes and odd spellings are the parser's business.
 */
import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { AppError, invalidArgument } from '../../common/app-error.js';
import type { Engine } from '../../engine/duckdb/engine.js';
import { mayAmplify } from '../limits/amplifiers.js';
import { assertPlannable, assertReadableTree } from './statement-size.js';
import { type Condition, conditionsOf } from './prune.js';
import { type ResultSize, resultSizeOf } from './result-size.js';
import { type SummaryItem, summaryOf } from './summary.js';
import { isForbidden, TABLE_FUNCTIONS } from './forbidden-functions.js';
import { SqlParser } from './parse.js';
import type { Node } from './syntax-tree.js';

export interface SqlAnalysis {
  /** Tables that it reads, as written; not those it defines itself. */
  readonly tables: readonly string[];
  /** True when the same rows come in the same order every time: a filter and projection over one table, nothing that sorts, groups or varies. */
  readonly isRepeatableScan: boolean;
  /** What every row of the result fulfils, as far as it is plain enough to leave files out. */
  readonly conditions: readonly Condition[];
  /** True when values of its rows may be much larger than what they are made from. */
  readonly mayAmplify: boolean;
  readonly size: ResultSize;
  /** Set when it asks for counts and extremes of a whole table and nothing else. */
  readonly summary: readonly SummaryItem[] | undefined;
  /** The same for statements that mean the same, however they are written; undefined when the answer varies without the tables doing so. */
  readonly fingerprint: string | undefined;
}

/** Functions whose value differs from one run to the next, besides those of which the engine says so. */
const VARYING_FUNCTIONS = /^(now|today|age|get_current_.*|transaction_timestamp|current_.*|localtime.*|version)$/;
/** Functions that need no parentheses, and are a column where a table has one of that name. */
const REFUSED_COLUMNS = /^current_(schema|catalog)$/;
const VARYING_COLUMNS = /^(current_.*|localtime.*|user|session_user)$/;
/** Parts of a SELECT that make the order of its rows an accident. */
const ORDERLESS_PARTS = ['having', 'sample', 'qualify'] as const;
/** Statements whose analysis is kept, the newest, and the characters of all of them. */
const ANALYSES_MAX = 1_000;
const ANALYSED_CHARACTERS_MAX = 4 * 1_024 * 1_024;
const STATEMENTS_HINT = 'send one SELECT (WITH, FROM-first, UNION and so on included)';

export class SqlAnalyser {
  #aggregates: ReadonlySet<string> = new Set();
  #varying: ReadonlySet<string> = new Set();
  readonly #analyses = new LRUCache<string, SqlAnalysis>({
    max: ANALYSES_MAX,
    maxSize: ANALYSED_CHARACTERS_MAX,
    sizeCalculation: (_analysis, sql) => sql.length + 1,
  });

  readonly #parser: SqlParser;

  constructor(private readonly engine: Engine) {
    this.#parser = new SqlParser(engine);
  }

  /** Learns which functions aggregate, and which vary. */
  async open(): Promise<void> {
    this.#aggregates = await this.#functionsWith("function_type = 'aggregate'");
    this.#varying = await this.#functionsWith("stability <> 'CONSISTENT'");
  }

  async #functionsWith(condition: string): Promise<ReadonlySet<string>> {
    const rows = await this.engine.rows(`SELECT DISTINCT function_name AS name FROM duckdb_functions() WHERE ${condition}`);
    return new Set(rows.map((row) => String(row['name']).toLowerCase()));
  }

  /** @throws AppError INVALID_ARGUMENT or PERMISSION_DENIED, saying what is refused and what to do */
  async analyse(sql: string): Promise<SqlAnalysis> {
    const known = this.#analyses.get(sql);
    if (known) return known;
    const { statement, text } = await this.parse(sql);
    assertPlannable(statement);
    const walk = new Walk();
    walk.visit(statement, []);
    const isVarying = walk.isVarying || [...walk.functions].some((name) => this.#varying.has(name));
    const analysis: SqlAnalysis = {
      tables: [...walk.tables],
      isRepeatableScan: !isVarying && this.#isRepeatableScan(statement, walk),
      mayAmplify: walk.mayAmplify,
      size: resultSizeOf(statement, this.#aggregates),
      conditions: walk.readsOneTableOnce ? conditionsOf(statement) : [],
      summary: walk.readsOneTableOnce ? summaryOf(statement) : undefined,
      fingerprint: isVarying ? undefined : fingerprintOf(text),
    };
    this.#analyses.set(sql, analysis);
    return analysis;
  }

  /**
   * @returns the tree of the one statement, and its text with every digit of every number
   * @throws AppError INVALID_ARGUMENT for anything but one SELECT
   */
  async parse(sql: string): Promise<{ statement: Node; text: string }> {
    const text = await this.#parser.tree(sql);
    assertReadableTree(text);
    const tree = JSON.parse(withFiniteNumbers(text)) as {
      error: boolean;
      error_type?: string;
      error_message?: string;
      position?: string;
      statements?: readonly { node: Node }[];
    };
    if (tree.error) throw parseError(tree.error_type, tree.error_message, tree.position);
    const [statement, ...others] = tree.statements ?? [];
    if (!statement) throw invalidArgument(`the SQL is empty; ${STATEMENTS_HINT}`);
    if (others.length > 0) throw invalidArgument(`the SQL has ${others.length + 1} statements; ${STATEMENTS_HINT}`);
    return { statement: statement.node, text };
  }

  close(): void {
    this.#parser.close();
  }

  #isRepeatableScan(node: Node, walk: Walk): boolean {
    const from = node['from_table'] as Node | null;
    if (node['type'] !== 'SELECT_NODE' || from?.['type'] !== 'BASE_TABLE' || from['sample'] || walk.tables.size !== 1) return false;
    if (walk.hasSubquery || [...walk.functions].some((name) => this.#aggregates.has(name) || name === 'unnest')) return false;
    if (ORDERLESS_PARTS.some((part) => node[part]) || (node['group_expressions'] as unknown[]).length > 0) return false;
    return (node['modifiers'] as unknown[]).length === 0 && node['aggregate_handling'] === 'STANDARD_HANDLING';
  }
}

/** Where something stands in the statement says nothing of what it means. (In a text constant the quotes would be escaped.) */
function fingerprintOf(tree: string): string {
  return createHash('sha256')
    .update(tree.replaceAll(/"query_location":\d+/g, ''))
    .digest('base64');
}

/** The engine prints a literal beyond the range of DOUBLE as Infinity, which JSON has no word for; 1e999 is read as the same. */
function withFiniteNumbers(tree: string): string {
  if (!tree.includes('Infinity')) return tree;
  return tree.replace(/"(?:[^"\\]|\\.)*"|Infinity/g, (token) => (token === 'Infinity' ? '1e999' : token));
}

function parseError(type: string | undefined, message: string | undefined, position: string | undefined): AppError {
  // DuckDB's name for a statement that it can parse but not serialise: anything but a SELECT.
  if (type === 'not implemented') return invalidArgument(`this statement is not a SELECT; ${STATEMENTS_HINT}`);
  return invalidArgument(
    `the SQL cannot be parsed: ${message ?? 'unknown error'}`,
    position === undefined ? [] : [{ position: Number(position) }],
  );
}

/** One pass over a syntax tree, with the names that are defined at each point. */
class Walk {
  readonly tables = new Set<string>();
  readonly functions = new Set<string>();
  hasSubquery = false;
  isVarying = false;
  mayAmplify = false;
  #lambdas = 0;
  #isInColumns = false;
  #tableReferences = 0;

  /** True when one table is named, in one place: what holds for it there holds for it everywhere. */
  get readsOneTableOnce(): boolean {
    return this.#tableReferences === 1;
  }

  visit(value: unknown, defined: readonly string[]): void {
    if (Array.isArray(value)) {
      for (const item of value) this.visit(item, defined);
    } else if (typeof value === 'object' && value !== null) {
      this.#visitNode(value as Node, defined);
    }
  }

  #visitNode(node: Node, outer: readonly string[]): void {
    const defined = this.#definitions(node, outer);
    this.#check(node, defined);
    const isLambda = node['class'] === 'LAMBDA';
    if (isLambda) this.#lambdas += 1;
    // What stands in COLUMNS is about names, not values.
    const wasInColumns = this.#isInColumns;
    this.#isInColumns ||= node['class'] === 'STAR';
    for (const [key, child] of Object.entries(node)) if (key !== 'cte_map') this.visit(child, defined);
    this.#isInColumns = wasInColumns;
    if (isLambda) this.#lambdas -= 1;
  }

  /**
   * Visits the WITH clauses of a node, and gives the names known behind them. A name is known only after its own definition: before and inside it,
   * the same name is the real table. Inside a recursive definition it is known, because there the engine looks it up first.
   */
  #definitions(node: Node, outer: readonly string[]): readonly string[] {
    const map = (node['cte_map'] as { map?: readonly { key: string; value: Node }[] } | undefined)?.map ?? [];
    let defined = node['type'] === 'RECURSIVE_CTE_NODE' ? [...outer, asciiLowerCase(String(node['cte_name']))] : outer;
    for (const { key, value } of map) {
      this.visit(value, defined);
      defined = [...defined, asciiLowerCase(key)];
    }
    return defined;
  }

  #check(node: Node, defined: readonly string[]): void {
    switch (node['type']) {
      case 'BASE_TABLE':
        this.#checkTable(node, defined);
        break;
      case 'TABLE_FUNCTION':
        checkTableFunction(node);
        break;
      case 'SHOW_REF':
        throw invalidArgument(
          'SHOW, DESCRIBE and SUMMARIZE cannot be run here; GET /v1/tables lists tables, GET /v1/tables/{name} describes one',
        );
      case 'COLUMN_DATA':
      case 'DELIM_GET':
      case 'BOUND_TABLE_REF':
        throw invalidArgument(`a table reference of kind ${String(node['type'])} is not supported`);
    }
    if (node['sample']) this.isVarying = true;
    if (node['type'] === 'RECURSIVE_CTE_NODE') this.mayAmplify = true;
    if (node['class'] === 'FUNCTION' || node['class'] === 'WINDOW') this.#checkFunction(node);
    if (node['class'] === 'SUBQUERY' || node['class'] === 'WINDOW') this.hasSubquery = true;
    if (node['class'] === 'COLUMN_REF') this.#noteColumn(node);
  }

  #checkTable(node: Node, defined: readonly string[]): void {
    const name = String(node['table_name']);
    if (node['schema_name'] || node['catalog_name']) {
      throw invalidArgument(
        `table ${[node['catalog_name'], node['schema_name'], name].filter(Boolean).join('.')}: write the name of a table without a schema`,
      );
    }
    if (defined.includes(asciiLowerCase(name))) {
      this.hasSubquery = true;
      return;
    }
    if (!/^[A-Za-z][A-Za-z0-9_]{0,63}$/.test(name))
      throw invalidArgument(`${JSON.stringify(name.slice(0, 80))} is not the name of a table; files and URLs cannot be read by SQL`);
    this.tables.add(name);
    this.#tableReferences += 1;
  }

  #checkFunction(node: Node): void {
    const name = String(node['function_name']).toLowerCase();
    if (isForbidden(name) || node['catalog'] || node['export_state'] === true) {
      throw new AppError('PERMISSION_DENIED', `function ${name} cannot be used in queries`);
    }
    if (VARYING_FUNCTIONS.test(name)) this.isVarying = true;
    if (!this.#isInColumns && mayAmplify(name, node, this.#lambdas > 0)) this.mayAmplify = true;
    this.functions.add(name);
  }

  #noteColumn(node: Node): void {
    const names = node['column_names'] as string[];
    const [name] = names;
    if (names.length === 1 && REFUSED_COLUMNS.test(names[0]?.toLowerCase() ?? ''))
      throw new AppError('PERMISSION_DENIED', `${names[0]} cannot be used in queries; write TABLE.${names[0]} for a column of that name`);
    if (name !== undefined && VARYING_COLUMNS.test(name.toLowerCase())) this.isVarying = true;
  }
}

/**
 * As the engine compares names: only A to Z have another case. JavaScript also takes the Kelvin sign for a k, and so a system view for a name that the
 * statement defined.
 */
function asciiLowerCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

function checkTableFunction(node: Node): void {
  const name = String((node['function'] as Node | undefined)?.['function_name']).toLowerCase();
  if (!TABLE_FUNCTIONS.has(name))
    throw new AppError(
      'PERMISSION_DENIED',
      `table function ${name} cannot be used in queries; allowed: ${[...TABLE_FUNCTIONS].join(', ')}`,
    );
}

/** The statement without what ends it, so that it can stand in parentheses. */
export async function withoutEnd(engine: Engine, sql: string): Promise<string> {
  // A semicolon with a comment after it cannot simply be cut off: then the engine prints the statement anew.
  if (!/;\s*(--|\/\*)/.test(sql)) return sql.replace(/[;\s]+$/, '');
  const row = await engine.row('SELECT json_deserialize_sql(json_serialize_sql($1::VARCHAR)) AS text', [sql]);
  return String(row['text']);
}
