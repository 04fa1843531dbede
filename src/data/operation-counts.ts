/** Counts writes by table and outcome, for metrics. Only names of tables that exist get here, so a client cannot make labels. */
import { noteTables } from '../common/request-context.js';

export type Outcome = 'success' | 'error';
export type Operation = 'write' | 'update' | 'delete';

export class OperationCounts {
  readonly #counts = new Map<string, number>();
  readonly streamedRecords = new Map<string, { stored: number; refused: number }>();

  note(operation: Operation, table: string, outcome: Outcome): void {
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
