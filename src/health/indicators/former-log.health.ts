/** Tells of a write-ahead log that this node had before and that was lost with rows in it; says nothing otherwise. */
import { Injectable } from '@nestjs/common';
import { type HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';
import { LostLog } from '../../data/wal/lost-log.js';
import { degradedBy, type Indicator } from './indicator.js';

@Injectable()
export class FormerLogHealth implements Indicator {
  constructor(
    private readonly indicators: HealthIndicatorService,
    private readonly lostLog: LostLog,
  ) {}

  check(): Promise<HealthIndicatorResult> {
    const { told } = this.lostLog;
    return Promise.resolve(told === undefined ? {} : degradedBy(told, 'former_log', this.indicators));
  }
}
