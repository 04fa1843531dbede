/** Tells of tables that are out of service and of data files that are damaged; says nothing otherwise. The other tables go on. */
import { Injectable } from '@nestjs/common';
import { type HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';
import { DamagedFiles } from '../../tables/damaged-files.js';
import { TableRegistry } from '../../tables/table-registry.js';
import type { Indicator } from './indicator.js';

/** Tables that health names. */
const TOLD_MAX = 5;

@Injectable()
export class TablesHealth implements Indicator {
  constructor(
    private readonly indicators: HealthIndicatorService,
    private readonly registry: TableRegistry,
    private readonly damagedFiles: DamagedFiles,
  ) {}

  async check(): Promise<HealthIndicatorResult> {
    const out = this.registry.outOfService().map(({ name }) => `table ${name} is out of service`);
    const files = [...(await this.damagedFiles.byTable())].map(
      ([table, paths]) => `table ${table}: ${paths.length} of its data files damaged or missing`,
    );
    const told = [...out, ...files];
    if (told.length === 0) return {};
    const more = told.length > TOLD_MAX ? ` and ${told.length - TOLD_MAX} more` : '';
    return this.indicators
      .check('tables')
      .degraded(`${told.slice(0, TOLD_MAX).join('; ')}${more}; requests to them say which and what to do`);
  }
}
