/** What `/v1/status` says of each part, one reader a part. Read without changing anything; every figure is measured at the time of asking. */
import { Injectable } from '@nestjs/common';
import { BufferStats } from './buffer-stats.js';
import { CollectionStats } from './collection-stats.js';
import type { StatsDto, StatusDto } from './health.dto.js';
import { KnownNodes } from './known-nodes.js';
import { QueryEngineStats } from './query-stats.js';
import { RedisStats } from './redis-stats.js';
import { ReplicationStats } from './replication-stats.js';
import { StorageStats } from './storage-stats.js';

@Injectable()
export class ServerStatus {
  constructor(
    private readonly buffers: BufferStats,
    private readonly redis: RedisStats,
    private readonly replication: ReplicationStats,
    private readonly storage: StorageStats,
    private readonly queries: QueryEngineStats,
    private readonly collection: CollectionStats,
    private readonly nodes: KnownNodes,
  ) {}

  async read(): Promise<Omit<StatusDto, 'timestamp' | 'node_id' | 'version' | 'health_status' | 'components'>> {
    const nodes = await this.nodes.read();
    return {
      buffer_stats: this.buffers.read(),
      redis_stats: this.redis.read(),
      replication_stats: this.replication.read(),
      minio_stats: this.storage.read(),
      query_engine_stats: this.queries.read(),
      metrics_collection_stats: this.collection.read(),
      nodes,
      total_nodes: nodes.length,
    };
  }

  /** The short form. */
  readShort(): Omit<StatsDto, 'timestamp' | 'health_status'> {
    return { buffer_stats: this.buffers.read(), storage_stats: this.storage.read(), query_engine_stats: this.queries.read() };
  }
}
