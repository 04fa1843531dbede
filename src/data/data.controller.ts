/** Writes over REST and gRPC. Every route ends in one call of the write path; what differs is how a request says what it wants. */
import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Readable } from 'node:stream';
import type { Metadata, ServerReadableStream, sendUnaryData } from '@grpc/grpc-js';
import { Body, Controller, Delete, Headers, HttpCode, Post, Put, Query, Req } from '@nestjs/common';
import { GrpcMethod, GrpcStreamCall } from '@nestjs/microservices';
import { ApiBody, ApiHeader, ApiOkResponse, ApiOperation, ApiQuery, ApiTags } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import { assertMayWrite, currentPrincipal } from '../common/access.js';
import { AppError, invalidArgument } from '../common/app-error.js';
import { Config } from '../config/config.js';
import { counted } from '../common/counted.js';
import { stringifyJson } from '../common/json.js';
import { BatchText } from '../api/batch-text.js';
import { ApiErrors, BODY_ERRORS } from '../api/api-errors.js';
import { Needs } from '../api/permission.js';
import { UnreadableMessage } from '../api/readable-messages.js';
import type { Table } from '../tables/table.js';
import { assertTableName } from '../tables/table-name.js';
import { type BulkFormat, bulkFormatOf, parseFormat } from './bulk/bulk-format.js';
import type { BulkAnswer } from './bulk/bulk-request.js';
import { BulkPath } from './bulk-path.js';
import {
  ACK_QUERY,
  BULK_BODY,
  BulkAnswerDto,
  DELETE_EXAMPLES,
  DeletedDto,
  DeleteDto,
  DELIMITER_QUERY,
  ENCODING_HEADER,
  FORMAT_QUERY,
  ID_FIELD_QUERY,
  ID_STRATEGY_QUERY,
  IDEMPOTENCY_HEADER,
  ON_ERROR_QUERY,
  RESTORE_EXAMPLES,
  RestoredDto,
  RestoreDto,
  TABLE_QUERY,
  TIMESTAMP_FIELD_QUERY,
  TIMESTAMP_UNIT_QUERY,
  UPDATE_EXAMPLES,
  UpdateDto,
  WRITE_EXAMPLES,
  WriteAnswerDto,
  WriteDto,
} from './data.dto.js';
import {
  assertNoOthers,
  type BulkDescription,
  parseBulk,
  parseIds,
  parseTimestampUnit,
  parseUpdate,
  parseWrite,
  toBoolean,
} from './data-request.js';
import { FlushPath } from './flush-path.js';
import { OperationCounts } from './operation-counts.js';
import { type Idempotency, ownKey } from './write/idempotency.js';
import type { RecordInput } from './write/record.js';
import { StoreText } from './write/store-text.js';
import { strategyFor, WriteTargets } from './write/target.js';
import type { RowOptions, WriteAnswer, WriteCommand } from './write/write-command.js';
import { WritePath } from './write-path.js';

const IDEMPOTENCY_KEY_LENGTH_MAX = 255;
/** Turns of the event loop within which it is told, as a rule, that a call was cancelled. */
const TURNS_UNTIL_CANCELLED = 50;
/** Refusals that one answer of StreamWrite lists. */
const STREAM_ERRORS_MAX = 1_000;

interface GrpcRecord {
  readonly id: string;
  readonly timestamp: string | null;
  readonly payload: Record<string, unknown> | null;
}

interface GrpcBulkWrite {
  readonly table: string;
  readonly format: string;
  readonly encoding: string;
  readonly id_field: string;
  readonly timestamp_field: string;
  readonly on_error: string;
  readonly data: Buffer;
}

interface GrpcStreamWrite {
  readonly records: readonly GrpcRecord[];
  readonly table: string;
}

/** What a write came to. */
interface Written {
  readonly table: string;
  readonly answer: WriteAnswer;
  readonly isBatch: boolean;
}

@ApiTags('data')
@Controller('v1/data')
@Needs('write')
export class DataController {
  constructor(
    private readonly config: Config,
    private readonly targets: WriteTargets,
    private readonly writePath: WritePath,
    private readonly flushPath: FlushPath,
    private readonly bulkPath: BulkPath,
    private readonly text: StoreText,
    private readonly counts: OperationCounts,
  ) {}

  @Post()
  @HttpCode(200)
  @ApiOperation({
    summary: 'Store a record or a batch',
    description: 'Answers once the records are on disk and visible to the next query. A batch is stored as a whole or not at all.',
  })
  @ApiHeader(IDEMPOTENCY_HEADER)
  @ApiQuery(TIMESTAMP_UNIT_QUERY)
  @ApiQuery(ACK_QUERY)
  @ApiBody({ type: WriteDto, examples: WRITE_EXAMPLES })
  @ApiOkResponse({ type: WriteAnswerDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT', 'RESOURCE_EXHAUSTED')
  async write(
    @Body() body: unknown,
    @Headers('Idempotency-Key') key?: string,
    @Query() query: Record<string, unknown> = {},
  ): Promise<WriteAnswerDto> {
    const { ack, timestamp_unit: unit, ...others } = query;
    assertNoOthers(others);
    const isFlushed = parseAck(ack);
    const options: RowOptions = { onError: 'abort', timestampUnit: parseTimestampUnit(unit) };
    const batch = body instanceof BatchText ? body : undefined;
    // A key is one of what a request means, which its bytes do not say.
    const stored = batch && key === undefined ? await this.#writeText(batch, options) : undefined;
    const { table, answer, isBatch } = stored ?? (await this.#writeParsed(batch ? batch.parsed() : body, options, key, unit));
    if (isFlushed) await this.flushPath.flush(this.targets.existing(table));
    return this.#rowsAnswer(answer, isBatch);
  }

  async #writeParsed(body: unknown, options: RowOptions, key: string | undefined, unit: unknown): Promise<Written> {
    const { table: name, records, isBatch } = parseWrite(body, this.config.limits.batch_records_max);
    const makeCommand = async (): Promise<WriteCommand> => {
      const table = await this.targets.ensureFor(name, records, options);
      return { kind: 'rows', table, records, replaces: false, ...options };
    };
    const idempotency = idempotencyOf(key, 'POST', unit === undefined ? body : [body, unit]);
    return { table: name, answer: await this.#submit('write', name, makeCommand, idempotency), isBatch };
  }

  /** @returns undefined, with nothing stored, for what has to be parsed */
  async #writeText({ table: name, records: text }: BatchText, options: RowOptions): Promise<Written | undefined> {
    const table = this.targets.find(name);
    if (!table) return undefined;
    assertMayWrite(name);
    const rowsMax = this.config.limits.batch_records_max;
    const answer = await this.counts.around('write', name, () =>
      this.text.store({ table, text, form: { kind: 'records' }, options, rowsMax, wantsIds: true }),
    );
    return answer && { table: name, answer, isBatch: true };
  }

  @GrpcMethod('MinIODBService', 'WriteData')
  writeByGrpc(request: { table: string; data: GrpcRecord | null }, metadata: Metadata): Promise<WriteAnswerDto> {
    if (!request.data) throw invalidArgument('data is missing', [{ field: 'data' }]);
    return this.write({ table: request.table, data: fromGrpc(request.data) }, keyOf(metadata));
  }

  #rowsAnswer(answer: WriteAnswer, isBatch: boolean): WriteAnswerDto {
    const common = {
      success: true as const,
      message: `${counted(answer.count, 'record')} stored`,
      node_id: this.config.node_id,
      lsn: answer.lsn,
    };
    return isBatch ? { ...common, ids: answer.ids, count: answer.count } : { ...common, id: answer.ids[0] ?? '' };
  }

  @Post('bulk')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Store a stream of rows',
    description:
      'Flat rows, one column per key. `abort` stores all rows or none; `skip` stores the rows that fit and lists the others with line, field and reason.',
    requestBody: BULK_BODY,
  })
  @ApiQuery(TABLE_QUERY)
  @ApiQuery(FORMAT_QUERY)
  @ApiQuery(DELIMITER_QUERY)
  @ApiQuery(ID_FIELD_QUERY)
  @ApiQuery(ID_STRATEGY_QUERY)
  @ApiQuery(TIMESTAMP_FIELD_QUERY)
  @ApiQuery(TIMESTAMP_UNIT_QUERY)
  @ApiQuery(ON_ERROR_QUERY)
  @ApiQuery(ACK_QUERY)
  @ApiHeader(ENCODING_HEADER)
  @ApiHeader(IDEMPOTENCY_HEADER)
  @ApiOkResponse({ type: BulkAnswerDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT', 'RESOURCE_EXHAUSTED', 'CANCELLED')
  async bulk(
    @Req() request: FastifyRequest,
    @Query() query: Record<string, unknown>,
    @Headers('content-type') mediaType = '',
    @Headers('Content-Encoding') encoding?: string,
    @Headers('Idempotency-Key') key?: string,
  ): Promise<BulkAnswerDto> {
    const { ack, format, ...described } = query;
    const isFlushed = parseAck(ack);
    const { table, answer } = await this.#bulk(
      parseBulk(described),
      format === undefined ? bulkFormatOf(mediaType) : parseFormat(format),
      encoding,
      bodyStream(request),
      key,
      () => false,
    );
    if (isFlushed && table) await this.flushPath.flush(table);
    return {
      success: true,
      message: `${counted(answer.count, 'row')} stored${answer.refusedCount > 0 ? `, ${answer.refusedCount} refused` : ''}`,
      node_id: this.config.node_id,
      count: answer.count,
      refused_count: answer.refusedCount,
      errors: answer.refusals,
      lsn: answer.lsn,
    };
  }

  /** The pieces are one body; the next one is read when the last is on disk. */
  @GrpcStreamCall('MinIODBService', 'BulkWrite')
  async bulkByGrpc(call: ServerReadableStream<GrpcBulkWrite, unknown>, callback: sendUnaryData<unknown>): Promise<void> {
    const messages = (call as AsyncIterable<GrpcBulkWrite | UnreadableMessage>)[Symbol.asyncIterator]();
    const first = await nextMessage(messages);
    if (!first) throw invalidArgument('the stream has no messages; the first one must name the table and the format');
    const { table, format, encoding } = first;
    const request = parseBulk({
      table,
      ...given({ id_field: first.id_field, timestamp_field: first.timestamp_field, on_error: first.on_error }),
    });
    const { answer } = await this.#bulk(
      request,
      parseFormat(format),
      encoding,
      Readable.from(pieces(call, first, messages)),
      keyOf(call.metadata),
      () => call.cancelled,
    );
    callback(null, {
      success: answer.refusedCount === 0,
      count: answer.count,
      refused_count: answer.refusedCount,
      errors: answer.refusals,
      lsn: answer.lsn,
    });
  }

  async #bulk(
    request: BulkDescription,
    format: BulkFormat | undefined,
    encoding: string | undefined,
    body: Readable,
    key: string | undefined,
    isGone: () => boolean,
  ): Promise<{ table: Table | undefined; answer: BulkAnswer }> {
    const { table: name, fields, options, delimiter } = request;
    const table = this.targets.draft(name);
    const idempotency = idempotencyOf(key, 'BULK', { ...request, format });
    const ensureTable = (lacksIds: boolean): Promise<Table> => this.targets.ensureForBulk(name, options, lacksIds);
    const run = (): Promise<BulkAnswer> =>
      this.bulkPath.store({ table, ensureTable, body, format, encoding, fields, options, delimiter, idempotency, isGone });
    const answer = await this.counts.around('write', name, run);
    return { table: this.targets.find(name), answer };
  }

  @Put()
  @ApiOperation({
    summary: 'Replace the rows with an id',
    description: 'Creates the row if there is none. With partial: true the fields are merged into the newest row.',
  })
  @ApiHeader(IDEMPOTENCY_HEADER)
  @ApiBody({ type: UpdateDto, examples: UPDATE_EXAMPLES })
  @ApiOkResponse({ type: WriteAnswerDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT', 'RESOURCE_EXHAUSTED')
  async update(@Body() body: unknown, @Headers('Idempotency-Key') key?: string): Promise<WriteAnswerDto> {
    const { table: name, id, payload, timestamp, partial } = parseUpdate(body);
    const makeCommand = async (): Promise<WriteCommand> => {
      const records = [{ id, timestamp, payload }];
      const table = await this.targets.ensureFor(name, records, { onError: 'abort' });
      return partial
        ? { kind: 'merge', table, id, payload, timestamp }
        : { kind: 'rows', table, records, replaces: true, onError: 'abort' };
    };
    const answer = await this.#submit('update', name, makeCommand, idempotencyOf(key, 'PUT', body));
    return { success: true, message: 'record updated', node_id: this.config.node_id, id, lsn: answer.lsn };
  }

  @GrpcMethod('MinIODBService', 'UpdateData')
  updateByGrpc(
    request: { table: string; id: string; payload: Record<string, unknown> | null; timestamp: string | null; partial: boolean },
    metadata: Metadata,
  ): Promise<WriteAnswerDto> {
    const { table, id, payload, timestamp, partial } = request;
    return this.update({ table, id, payload: payload ?? undefined, timestamp: timestamp ?? undefined, partial }, keyOf(metadata));
  }

  @Delete()
  @ApiOperation({
    summary: 'Delete rows by id',
    description:
      'A hard delete removes rows from queries at once and from storage with the next compaction. A soft delete hides them until they are restored. The count is exact. Clients that cannot send a body may use query parameters instead.',
  })
  @ApiHeader(IDEMPOTENCY_HEADER)
  @ApiQuery({ ...TABLE_QUERY, required: false })
  @ApiQuery({ name: 'id', required: false, type: String, example: 'user-123' })
  @ApiQuery({ name: 'ids', required: false, type: [String], description: 'ids=a&ids=b or ids=a,b' })
  @ApiQuery({ name: 'soft_delete', required: false, type: Boolean, example: true })
  @ApiBody({ type: DeleteDto, required: false, examples: DELETE_EXAMPLES })
  @ApiOkResponse({ type: DeletedDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT', 'RESOURCE_EXHAUSTED')
  async delete(
    @Body() body: unknown,
    @Query() query: Record<string, unknown>,
    @Headers('Idempotency-Key') key?: string,
  ): Promise<DeletedDto> {
    const request = parseIds(body ?? idsFromQuery(query), this.config.limits.ids_max, true);
    const answer = await this.#submit(
      'delete',
      request.table,
      () => ({ kind: 'delete', table: this.targets.existing(request.table), ids: request.ids, soft: request.soft }),
      idempotencyOf(key, 'DELETE', body ?? query),
    );
    return {
      success: true,
      message: `${counted(answer.count, 'row')} ${request.soft ? 'hidden' : 'deleted'}`,
      deleted_count: answer.count,
      lsn: answer.lsn,
    };
  }

  @GrpcMethod('MinIODBService', 'DeleteData')
  deleteByGrpc({ table, id, soft_delete }: { table: string; id: string; soft_delete: boolean }, metadata: Metadata): Promise<DeletedDto> {
    return this.delete({ table, id, soft_delete }, {}, keyOf(metadata));
  }

  @Post('restore')
  @HttpCode(200)
  @ApiOperation({ summary: 'Restore soft-deleted rows' })
  @ApiHeader(IDEMPOTENCY_HEADER)
  @ApiBody({ type: RestoreDto, examples: RESTORE_EXAMPLES })
  @ApiOkResponse({ type: RestoredDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND', 'CONFLICT', 'RESOURCE_EXHAUSTED')
  async restore(@Body() body: unknown, @Headers('Idempotency-Key') key?: string): Promise<RestoredDto> {
    const request = parseIds(body, this.config.limits.ids_max, false);
    const answer = await this.#submit(
      'update',
      request.table,
      () => ({ kind: 'restore', table: this.targets.existing(request.table), ids: request.ids }),
      idempotencyOf(key, 'RESTORE', body),
    );
    return { success: true, message: `${counted(answer.count, 'row')} restored`, restored_count: answer.count, lsn: answer.lsn };
  }

  /** Each message is one write. The next one is read only when the last is stored, so a fast client is slowed down by the transport itself. */
  @GrpcStreamCall('MinIODBService', 'StreamWrite')
  async streamWrite(call: ServerReadableStream<GrpcStreamWrite, unknown>, callback: sendUnaryData<unknown>): Promise<void> {
    const errors: string[] = [];
    let [stored, refused, offset] = [0, 0, 0];
    let name = '';
    for await (const message of call as AsyncIterable<GrpcStreamWrite | UnreadableMessage>) {
      if (message instanceof UnreadableMessage) throw message.error;
      name = message.table || name;
      assertTableName(name);
      if (message.records.length > this.config.limits.batch_records_max) {
        throw new AppError(
          'PAYLOAD_TOO_LARGE',
          `a message has ${message.records.length} records; at most ${this.config.limits.batch_records_max} per message (limits.batch_records_max)`,
        );
      }
      const answer = await this.#writeMessage(name, message.records.map(fromGrpc));
      stored += answer.count;
      refused += answer.refusals.length;
      for (const { index, reason } of answer.refusals)
        if (errors.length < STREAM_ERRORS_MAX) errors.push(`record ${offset + index}: ${reason}`);
      offset += message.records.length;
    }
    callback(null, { success: refused === 0, records_count: stored, errors, errors_count: refused });
  }

  /** Stores those records of a message that fit. A message of which none does makes no table. */
  async #writeMessage(name: string, records: readonly RecordInput[]): Promise<Pick<WriteAnswer, 'count' | 'refusals'>> {
    const refusals = this.targets.refusedByNew(name, records, { onError: 'skip' });
    if (refusals.length === records.length) return { count: 0, refusals };
    const makeCommand = async (): Promise<WriteCommand> => {
      const table = await this.targets.ensure(name, strategyFor(records));
      return { kind: 'rows', table, records, replaces: false, onError: 'skip' };
    };
    const answer = await this.#submit('write', name, makeCommand, undefined);
    this.counts.streamed(this.targets.existing(name).name, answer.count, answer.refusals.length);
    return answer;
  }

  #submit(
    operation: 'write' | 'update' | 'delete',
    name: string,
    makeCommand: () => WriteCommand | Promise<WriteCommand>,
    idempotency: Idempotency | undefined,
  ): Promise<WriteAnswer> {
    assertMayWrite(name);
    return this.counts.around(operation, name, () => this.writePath.submit(makeCommand, idempotency));
  }
}

function fromGrpc(record: GrpcRecord): RecordInput {
  return { id: record.id === '' ? undefined : record.id, timestamp: record.timestamp ?? undefined, payload: record.payload ?? undefined };
}

function keyOf(metadata: Metadata): string | undefined {
  const [key] = metadata.get('idempotency-key');
  return typeof key === 'string' ? key : undefined;
}

function idempotencyOf(key: string | undefined, method: string, request: unknown): Idempotency | undefined {
  if (key === undefined) return undefined;
  if (key === '' || key.length > IDEMPOTENCY_KEY_LENGTH_MAX)
    throw invalidArgument(`Idempotency-Key must have 1 to ${IDEMPOTENCY_KEY_LENGTH_MAX} characters`, [{ field: 'Idempotency-Key' }]);
  return {
    key: ownKey(key, currentPrincipal()),
    fingerprint: createHash('sha256')
      .update(`${method} ${stringifyJson(request)}`)
      .digest('base64'),
  };
}

function parseAck(ack: unknown): boolean {
  if (ack === undefined) return false;
  if (ack === 'flushed') return true;
  throw invalidArgument('ack must be flushed, or be left out', [{ field: 'ack' }]);
}

async function nextMessage(messages: AsyncIterator<GrpcBulkWrite | UnreadableMessage>): Promise<GrpcBulkWrite | undefined> {
  const { value, done } = (await messages.next()) as IteratorResult<GrpcBulkWrite | UnreadableMessage, undefined>;
  if (done === true) return undefined;
  if (value instanceof UnreadableMessage) throw value.error;
  return value;
}

async function* pieces(
  call: { readonly cancelled: boolean },
  first: GrpcBulkWrite,
  messages: AsyncIterator<GrpcBulkWrite | UnreadableMessage>,
): AsyncIterable<Buffer> {
  for (let message: GrpcBulkWrite | undefined = first; message; message = await nextMessage(messages)) yield message.data;
  await assertWhole(call);
}

/**
 * The messages of a call that its client cancels end like those of one that has sent them all; that it was cancelled is told some turns later.
 * @throws AppError CANCELLED
 */
async function assertWhole(call: { readonly cancelled: boolean }): Promise<void> {
  for (let turn = 0; turn < TURNS_UNTIL_CANCELLED && !call.cancelled; turn += 1) await nextTurn();
  if (call.cancelled) throw new AppError('CANCELLED', 'the client disconnected before the end of its stream');
}

/** Fields that are not empty, which is what gRPC has for left out. */
function given(fields: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ''));
}

function bodyStream(request: FastifyRequest): Readable {
  const { body } = request;
  if (body !== null && typeof body === 'object' && 'pipe' in body) return body as Readable;
  throw invalidArgument('the body is missing');
}

/** DELETE may say everything in the query: ids are given as ids=a&ids=b or ids=a,b. */
function idsFromQuery(query: Record<string, unknown>): Record<string, unknown> {
  const { ids, soft_delete: soft, ...rest } = query;
  const list = typeof ids === 'string' ? ids.split(',') : ids;
  return {
    ...rest,
    ...(list === undefined ? {} : { ids: list }),
    ...(soft === undefined ? {} : { soft_delete: toBoolean(soft, 'soft_delete') }),
  };
}
