/** Memory of the process and of the engine in it: `memory_usage` of `/v1/metrics`. */
import { Injectable } from '@nestjs/common';
import { asNumber, Engine } from '../engine/duckdb/engine.js';
import { TableRegistry } from '../tables/table-registry.js';

export interface MemoryFigures extends Record<string, number> {
  readonly rss_bytes: number;
  readonly heap_bytes: number;
  readonly external_bytes: number;
  readonly engine_bytes: number;
  readonly engine_bytes_max: number;
  readonly small_files_bytes: number;
  readonly spilled_bytes: number;
}

@Injectable()
export class MemoryUsage {
  constructor(
    private readonly engine: Engine,
    private readonly registry: TableRegistry,
  ) {}

  async read(): Promise<MemoryFigures> {
    const { rss, heapUsed, external } = process.memoryUsage();
    const row = await this.engine.row(
      'SELECT coalesce(sum(memory_usage_bytes), 0)::BIGINT AS used, coalesce(sum(temporary_storage_bytes), 0)::BIGINT AS spilled FROM duckdb_memory()',
    );
    return {
      rss_bytes: rss,
      heap_bytes: heapUsed,
      external_bytes: external,
      engine_bytes: asNumber(row['used']),
      engine_bytes_max: this.engine.memoryBytesMax,
      small_files_bytes: this.registry.all().reduce((sum, table) => sum + table.residents.bytes, 0),
      spilled_bytes: asNumber(row['spilled']),
    };
  }
}
