/** Shapes of the write routes for the OpenAPI document; the bodies themselves are read in `data-request.ts`. */
import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { DoneDto } from '../api/done.dto.js';
import { BULK_FORMATS } from './bulk/bulk-format.js';
import { BULK_ID_STRATEGIES } from './data-request.js';
import type { RecordRefusal } from './write/record.js';
import { TIMESTAMP_UNITS } from './write/timestamp.js';

const PAYLOAD = { type: 'object' as const, additionalProperties: true };
const TABLE = { example: 'users', pattern: '^[A-Za-z][A-Za-z0-9_]{0,63}$' };
const ID_SCHEMA = { oneOf: [{ type: 'string', minLength: 1, maxLength: 255 }, { type: 'integer' }] };
const ID = { ...ID_SCHEMA, example: 'user-123' };
const IDS = { type: 'array', items: ID_SCHEMA, minItems: 1, maxItems: 10_000, example: ['user-123', 'user-124'] } as const;
const LSN = { type: 'integer', example: 42, description: 'Position of the write in the log' } as const;
/** A number in a body, a text in a body or in CSV. */
const TIMESTAMP = {
  oneOf: [{ type: 'string' }, { type: 'number' }],
  example: '2024-01-01T10:00:00Z',
  description:
    'An instant: text such as 2024-01-01T10:00:00Z, 2024-01-01 10:00:00+02 or 2024-01-01 (UTC if it has no zone), or a number since 1970, in seconds, ' +
    'milliseconds, microseconds or nanoseconds by its size. Stored with microseconds. Default: now',
};

export const IDEMPOTENCY_HEADER = {
  name: 'Idempotency-Key',
  required: false,
  schema: { type: 'string', minLength: 1, maxLength: 255 },
  description:
    'Repeating a request with the same key returns the same answer and stores nothing again; using the key for another request is refused (409 CONFLICT)',
} as const;
export const ACK_QUERY = {
  name: 'ack',
  required: false,
  schema: { type: 'string' as const, enum: ['flushed'], example: 'flushed' },
  description: 'Also wait until the records are in the object store',
};
export const TABLE_QUERY = { name: 'table', schema: { type: 'string', ...TABLE } } as const;

const FIELD_NAME = { type: 'string', minLength: 1, maxLength: 255 } as const;
export const ID_FIELD_QUERY = {
  name: 'id_field',
  required: false,
  schema: { ...FIELD_NAME, default: 'id', example: 'id' },
  description: 'Field with the id',
};
export const TIMESTAMP_FIELD_QUERY = {
  name: 'timestamp_field',
  required: false,
  schema: { ...FIELD_NAME, default: 'timestamp', example: 'timestamp' },
  description: 'Field with the timestamp',
};
export const FORMAT_QUERY = {
  name: 'format',
  required: false,
  schema: { type: 'string' as const, enum: [...BULK_FORMATS] },
  description: 'Format of the body. Default: as Content-Type says; for application/octet-stream the first bytes tell',
};
export const DELIMITER_QUERY = {
  name: 'delimiter',
  required: false,
  schema: { type: 'string' as const, enum: ['comma', 'semicolon', 'tab', 'bar'] },
  description: 'What stands between the cells of CSV, by name or as itself. Default: the first of them that is in the first line',
};
export const ID_STRATEGY_QUERY = {
  name: 'id_strategy',
  required: false,
  schema: { type: 'string' as const, enum: [...BULK_ID_STRATEGIES], example: 'uuid' },
  description:
    'How ids are made for rows without one, also in the table if the body creates it. Default: as the table has it, uuid in a new one',
};
export const TIMESTAMP_UNIT_QUERY = {
  name: 'timestamp_unit',
  required: false,
  schema: { type: 'string' as const, enum: [...TIMESTAMP_UNITS], example: 'ms' },
  description:
    'Unit of timestamps that are numbers. Default: by their size, below 10^11 seconds, below 10^14 milliseconds, below 10^17 microseconds',
};
export const ON_ERROR_QUERY = {
  name: 'on_error',
  required: false,
  schema: { type: 'string' as const, enum: ['abort', 'skip'], default: 'abort', example: 'skip' },
  description: 'What to do when a row does not fit: store nothing, or skip that row',
};
export const ENCODING_HEADER = {
  name: 'Content-Encoding',
  required: false,
  schema: { type: 'string' as const, enum: ['gzip', 'zstd'] },
  description: 'Compression of the body',
};

export class RecordDto {
  @ApiPropertyOptional({ ...ID, description: 'Key of the entity; optional if the table generates ids' }) id?: string | number;
  @ApiPropertyOptional(TIMESTAMP) timestamp?: string | number;
  @ApiPropertyOptional({ ...PAYLOAD, example: { name: 'John Doe', age: 30, score: 95.5 }, description: 'Each field becomes a column' })
  payload?: Record<string, unknown>;
}

export class WriteDto {
  @ApiProperty(TABLE) table: string;
  @ApiPropertyOptional({ type: RecordDto, description: 'One record' }) data?: RecordDto;
  @ApiPropertyOptional({ type: [RecordDto], minItems: 1, maxItems: 100_000, description: 'A batch, stored as a whole or not at all' })
  records?: RecordDto[];
  @ApiPropertyOptional({ ...ID, description: 'One record, flat' }) id?: string | number;
  @ApiPropertyOptional({ ...TIMESTAMP, description: 'One record, flat' }) timestamp?: string | number;
  @ApiPropertyOptional({ ...PAYLOAD, description: 'One record, flat' }) payload?: Record<string, unknown>;
}

const JOHN = { id: 'user-123', timestamp: '2024-01-01T10:00:00Z', payload: { name: 'John Doe', age: 30, score: 95.5 } };
const JANE = { id: 'user-124', timestamp: '2024-01-01T11:00:00Z', payload: { name: 'Jane Roe', age: 41, score: 88.25 } };

export const WRITE_EXAMPLES = {
  record: { summary: 'A record', value: { table: 'users', data: JOHN } },
  flat: { summary: 'A record, flat', value: { table: 'users', ...JANE } },
  batch: { summary: 'A batch', value: { table: 'users', records: [JOHN, JANE] } },
};

export class WriteAnswerDto extends DoneDto {
  @ApiProperty({ example: 'node-1' }) node_id: string;
  @ApiPropertyOptional({ example: 'user-123' }) id?: string;
  @ApiPropertyOptional({ type: [String], description: 'For a batch' }) ids?: readonly string[];
  @ApiPropertyOptional({ type: 'integer', description: 'For a batch' }) count?: number;
  @ApiProperty(LSN) lsn: number;
}

const LINE = '{"id":"user-125","timestamp":"2024-01-01T12:00:00Z","name":"Ann Poe","age":25,"score":91.5}';
const ROW = { type: 'object', additionalProperties: true };
const BYTES = { schema: { type: 'string', format: 'binary' } };

/** Flat rows: keys of a row are columns. */
export const BULK_BODY = {
  required: true,
  content: {
    'application/x-ndjson': { schema: { type: 'string' }, examples: { rows: { summary: 'One row per line', value: `${LINE}\n` } } },
    'application/json': {
      schema: { type: 'array', items: ROW },
      examples: { rows: { summary: 'An array of rows', value: [JSON.parse(LINE) as Record<string, unknown>] } },
    },
    'text/csv': {
      schema: { type: 'string' },
      examples: {
        rows: {
          summary: 'Column names in the first line',
          value: 'id,timestamp,name,age,score\nuser-126,2024-01-01T13:00:00Z,Bob Doe,52,77.5\n',
        },
      },
    },
    'text/tab-separated-values': {
      schema: { type: 'string' },
      examples: { rows: { summary: 'The same with tabs', value: 'id\ttimestamp\tname\nuser-127\t2024-01-01 14:00:00\tEve Roe\n' } },
    },
    'application/vnd.apache.parquet': BYTES,
    'application/vnd.apache.arrow.stream': BYTES,
    'application/octet-stream': BYTES,
  },
};

class RefusalDto implements RecordRefusal {
  @ApiProperty({ type: 'integer', description: 'Position in the body, counted from 0' }) index: number;
  @ApiPropertyOptional({ type: 'integer' }) line?: number;
  @ApiPropertyOptional() id?: string;
  @ApiPropertyOptional() field?: string;
  @ApiProperty({ example: 'column age is BIGINT, got "thirty"' }) reason: string;
}

export class BulkAnswerDto extends DoneDto {
  @ApiProperty({ example: 'node-1' }) node_id: string;
  @ApiProperty({ type: 'integer', description: 'Rows stored' }) count: number;
  @ApiProperty({ type: 'integer', description: 'Rows that do not fit; 0 unless on_error is skip' }) refused_count: number;
  @ApiProperty({ type: [RefusalDto], description: 'The first hundred refused rows' }) errors: readonly RecordRefusal[];
  @ApiProperty(LSN) lsn: number;
}

export class UpdateDto {
  @ApiProperty(TABLE) table: string;
  @ApiProperty(ID) id: string | number;
  @ApiProperty({ ...PAYLOAD, example: { name: 'John Smith', age: 31, score: 98.5 } }) payload: Record<string, unknown>;
  @ApiPropertyOptional({ ...TIMESTAMP, description: 'Default: now, or with partial the timestamp of the row' }) timestamp?: string | number;
  @ApiPropertyOptional({ default: false, description: 'Merge into the newest row instead of replacing it; null removes a field' })
  partial?: boolean;
}

export const UPDATE_EXAMPLES = {
  replace: {
    summary: 'Replace',
    value: { table: 'users', id: 'user-123', timestamp: '2024-01-02T10:00:00Z', payload: { name: 'John Smith', age: 31, score: 98.5 } },
  },
  merge: { summary: 'Change one field', value: { table: 'users', id: 'user-123', payload: { age: 32 }, partial: true } },
};

export class DeleteDto {
  @ApiProperty(TABLE) table: string;
  @ApiPropertyOptional({ ...ID, description: 'One of id and ids' }) id?: string | number;
  @ApiPropertyOptional(IDS) ids?: (string | number)[];
  @ApiPropertyOptional({ default: false, description: 'Hide the rows so that they can be restored' }) soft_delete?: boolean;
}

export const DELETE_EXAMPLES = {
  soft: { summary: 'Hide', value: { table: 'users', id: 'user-123', soft_delete: true } },
  hard: { summary: 'Delete for good', value: { table: 'users', ids: ['user-124', 'user-126'] } },
};

export class DeletedDto extends DoneDto {
  @ApiProperty({ type: 'integer', description: 'Rows, not ids' }) deleted_count: number;
  @ApiProperty(LSN) lsn: number;
}

export class RestoreDto {
  @ApiProperty(TABLE) table: string;
  @ApiPropertyOptional({ ...ID, description: 'One of id and ids' }) id?: string | number;
  @ApiPropertyOptional(IDS) ids?: (string | number)[];
}

export const RESTORE_EXAMPLES = {
  one: { summary: 'The rows with an id', value: { table: 'users', id: 'user-123' } },
};

export class RestoredDto extends DoneDto {
  @ApiProperty({ type: 'integer', description: 'Rows, not ids' }) restored_count: number;
  @ApiProperty(LSN) lsn: number;
}
