/**
 * Counts writes by table and outcome, for metrics. Only names of tables that exist get here, so a client cannot make labels; what was counted of a table
 * stays away when the table has gone.
 */
import { Injectable } from '@nestjs/common';
import { noteTables } from '../common/request-context.js';
import { isNameOfTable, TableRegistry } from '../tables/table-registry.js';

export type Outcome = 'success' | 'error';
export type Operation = 'write' | 'update' | 'delete';

@Injectable()
export class OperationCounts {
  readonly #counts = new Map<string, { operation: Operation; table: string; outcome: Outcome; count: number }>();
  readonly #streamed = new Map<string, { stored: number; refused: number }>();

  constructor(private readonly registry: TableRegistry) {}

  /** Counts an operation by how it ends; one that gives undefined did nothing. Only what is done to a table counts: a name alone, which anybody can make up, would be a label. */
  async around<T>(operation: Operation, name: string, run: () => Promise<T>): Promise<T> {
    try {
      const result = await run();
      if (result !== undefined) this.#note(operation, name, 'success');
      return result;
    } catch (error) {
      this.#note(operation, name, 'error');
      throw error;
    }
  }

  #note(operation: Operation, name: string, outcome: Outcome): void {
    const table = this.registry.find(name)?.name;
    if (table === undefined) return;
    noteTables([table]);
    const key = `${operation} ${table} ${outcome}`;
    const counts = this.#counts.get(key) ?? { operation, table, outcome, count: 0 };
    this.#counts.set(key, { ...counts, count: counts.count + 1 });
  }

  streamed(table: string, stored: number, refused: number): void {
    const counts = this.#streamed.get(table) ?? { stored: 0, refused: 0 };
    this.#streamed.set(table, { stored: counts.stored + stored, refused: counts.refused + refused });
  }

  of(wanted: Operation): { readonly table: string; readonly outcome: Outcome; readonly count: number }[] {
    return [...this.#counts.values()].filter(({ operation, table }) => operation === wanted && isNameOfTable(this.registry, table));
  }

  /** Records that StreamWrite brought, by table. */
  streamedRecords(): [table: string, counts: { readonly stored: number; readonly refused: number }][] {
    return [...this.#streamed].filter(([table]) => isNameOfTable(this.registry, table));
  }
}
