/** What is kept so that it need not be made or fetched again: `cache_metrics` of `/v1/metrics`. */
import { Injectable } from '@nestjs/common';
import type { CacheCounts, HitsAndMisses } from '../common/cache-counts.js';
import { ResultCache } from '../query/results/result-cache.js';
import { StoragePool } from '../storage/storage-pool.js';
import { TableRegistry } from '../tables/table-registry.js';

export interface CacheFigures {
  readonly type: 'result' | 'file';
  readonly hits: number;
  readonly misses: number;
  /** By name of the table; under the empty name what is of several, or of none any more. */
  readonly byTable: ReadonlyMap<string, Readonly<HitsAndMisses>>;
  readonly entries: number;
  readonly bytes: number;
}

@Injectable()
export class CacheStats {
  constructor(
    private readonly results: ResultCache,
    private readonly pool: StoragePool,
    private readonly registry: TableRegistry,
  ) {}

  /** The cache of results, and the cache of files where there is a bucket. */
  read(): CacheFigures[] {
    const { results, registry } = this;
    const nameOf = (name: string): string | undefined => registry.find(name)?.name;
    const kept = figuresOf('result', results.counts, nameOf, results.count, results.bytes);
    const files = this.pool.cached?.cache;
    return files ? [kept, figuresOf('file', files.counts, tableNameOfDirectory(registry), files.fileCount, files.bytes)] : [kept];
  }
}

function figuresOf(
  type: CacheFigures['type'],
  counts: CacheCounts,
  nameOf: (owner: string) => string | undefined,
  entries: number,
  bytes: number,
): CacheFigures {
  return { type, hits: counts.hits, misses: counts.misses, byTable: countsByTable(counts, nameOf), entries, bytes };
}

function tableNameOfDirectory(registry: TableRegistry): (directory: string) => string | undefined {
  const names = new Map(registry.all().map((table) => [table.directory, table.name]));
  return (directory) => names.get(directory);
}

function countsByTable({ byOwner }: CacheCounts, nameOf: (owner: string) => string | undefined): Map<string, HitsAndMisses> {
  const byTable = new Map<string, HitsAndMisses>();
  for (const [owner, { hits, misses }] of byOwner) {
    const name = nameOf(owner) ?? '';
    const before = byTable.get(name) ?? { hits: 0, misses: 0 };
    byTable.set(name, { hits: before.hits + hits, misses: before.misses + misses });
  }
  return byTable;
}
