/** The engine answers a statement. */
import { Injectable } from '@nestjs/common';
import type { HealthIndicatorResult } from '@nestjs/terminus';
import { Engine } from '../../engine/duckdb/engine.js';
import type { Indicator } from './indicator.js';
import { Trial } from './trial.js';

@Injectable()
export class QueryEngineHealth implements Indicator {
  constructor(
    private readonly trial: Trial,
    private readonly engine: Engine,
  ) {}

  check(): PromiseLike<HealthIndicatorResult> {
    return this.trial.of('query_engine', () => this.engine.rows('SELECT 1'));
  }
}
