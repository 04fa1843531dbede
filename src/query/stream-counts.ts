/** Counts what streams of results carry, by table, for metrics. */
export class QueryStreamCounts {
  readonly byTable = new Map<string, { batches: number; records: number }>();

  note(tables: readonly string[], records: number): void {
    for (const table of tables) {
      const counts = this.byTable.get(table) ?? { batches: 0, records: 0 };
      this.byTable.set(table, { batches: counts.batches + 1, records: counts.records + records });
    }
  }
}
