/** What records of a table are checked against: the table's own rules, the server's limits, and who makes ids. */
import { Inject, Injectable } from '@nestjs/common';
import type { Clock } from '../../common/clock.js';
import { Config } from '../../config/config.js';
import { type MakeId, makeUuid, snowflakeIds } from '../../common/make-id.js';
import { CLOCK } from '../../common/tokens.js';
import type { Table } from '../../tables/table.js';
import type { IdStrategy, TableConfig } from '../../tables/table-config.js';
import { WriteAheadLog } from '../wal/write-ahead-log.js';
import type { EncodeRules } from './encode-records.js';
import type { RowOptions } from './write-command.js';

@Injectable()
export class EncodeRulesOfTables {
  readonly #makeSnowflake: MakeId;

  constructor(
    private readonly config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
    wal: WriteAheadLog,
  ) {
    this.#makeSnowflake = snowflakeIds(clock, wal.range, wal.lastWrittenMs);
  }

  of(
    table: Pick<Table, 'name' | 'config' | 'idRule'>,
    { idStrategy, onError, timestampUnit, newTypes, declared }: RowOptions,
  ): EncodeRules {
    const { limits } = this.config;
    return {
      tableName: table.name,
      idRule: table.idRule,
      makeId: this.#idMaker(table.config, idStrategy),
      nowMs: this.clock.nowMs(),
      columnsMax: limits.columns_max,
      depthMax: limits.json_depth_max,
      onError,
      timestampUnit,
      newTypes,
      declared,
    };
  }

  /** What makes ids for records without one; undefined when the table wants them from the client. */
  #idMaker(config: TableConfig, asked: IdStrategy | undefined): MakeId | undefined {
    switch (asked ?? config.id_strategy) {
      case 'uuid':
        return makeUuid;
      case 'snowflake':
        return this.#makeSnowflake;
      case 'custom':
        return () => config.id_prefix + makeUuid();
      case 'user_provided':
        return config.auto_generate_id && asked === undefined ? makeUuid : undefined;
    }
  }
}
