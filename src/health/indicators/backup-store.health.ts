/** The backup bucket takes copies; says nothing where there is none. The node goes on without it. */
import { Inject, Injectable, Optional } from '@nestjs/common';
import { type HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';
import { Replicator } from '../../backups/replication/replicator.js';
import { degradedBy, type Indicator } from './indicator.js';

@Injectable()
export class BackupStoreHealth implements Indicator {
  constructor(
    private readonly indicators: HealthIndicatorService,
    @Optional() @Inject(Replicator) private readonly replicator: Replicator | undefined,
  ) {}

  check(): Promise<HealthIndicatorResult> {
    const { replicator } = this;
    return Promise.resolve(replicator ? degradedBy(replicator.state.lastError, 'backup_store', this.indicators) : {});
  }
}
