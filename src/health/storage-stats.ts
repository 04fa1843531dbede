/**
 * The data files of the newest versions; with a bucket also what went over the wire since the start, and the cache before it. `minio_stats` of
 * `/v1/status`, `storage_stats` of `/v1/stats`.
 */
import { Injectable } from '@nestjs/common';
import { StoragePool } from '../storage/storage-pool.js';
import { TableRegistry } from '../tables/table-registry.js';

@Injectable()
export class StorageStats {
  constructor(
    private readonly registry: TableRegistry,
    private readonly pool: StoragePool,
  ) {}

  read(): Record<string, number> {
    const files = this.registry.all().flatMap((table) => [...table.snapshot.files.values()]);
    const stored = { objects: files.length, bytes: files.reduce((sum, file) => sum + file.sizeBytes, 0) };
    const { primary, cached } = this.pool;
    if (!primary || !cached) return { enabled: 0, ...stored };
    const { counts, connections } = primary.requests;
    const requests = Object.entries(counts.requests).map(([kind, count]): [string, number] => [`${kind.toLowerCase()}_requests`, count]);
    return {
      enabled: 1,
      ...stored,
      ...Object.fromEntries(requests),
      failed_requests: counts.failed,
      sent_bytes: counts.bytesSent,
      received_bytes: counts.bytesReceived,
      active_connections: connections.active,
      idle_connections: connections.idle,
      cache_files: cached.cache.fileCount,
      cache_bytes: cached.cache.bytes,
      cache_hits: cached.cache.counts.hits,
      cache_misses: cached.cache.counts.misses,
    };
  }
}
