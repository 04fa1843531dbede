/** Counts writes by table and outcome, for metrics. Only names of tables that exist get here, so a client cannot make labels. */
import { Injectable } from '@nestjs/common';
import { noteTables } from '../common/request-context.js';
import { TableRegistry } from '../tables/table-registry.js';

export type Outcome = 'success' | 'error';
export type Operation = 'write' | 'update' | 'delete';

@Injectable()
export class OperationCounts {
  readonly #counts = new Map<string, number>();
  readonly streamedRecords = new Map<string, { stored: number; refused: number }>();

  constructor(private readonly registry: TableRegistry) {}

  /** Counts an operation by how it ends. Only what is done to a table counts: a name alone, which anybody can make up, would be a label. */
  async around<T>(operation: Operation, name: string, run: () => Promise<T>): Promise<T> {
    try {
      const result = await run();
      this.#note(operation, name, 'success');
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
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  streamed(table: string, stored: number, refused: number): void {
    const counts = this.streamedRecords.get(table) ?? { stored: 0, refused: 0 };
    this.streamedRecords.set(table, { stored: counts.stored + stored, refused: counts.refused + refused });
  }

  *entries(): Iterable<{ operation: Operation; table: string; outcome: Outcome; count: number }> {
    for (const [key, count] of this.#counts) {
      const [operation, table, outcome] = key.split(' ') as [Operation, string, Outcome];
      yield { operation, table, outcome, count };
    }
  }
}
