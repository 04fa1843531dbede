/** Queries over REST and gRPC: a page, a stream, the list of what runs. */
import type { IncomingHttpHeaders } from 'node:http';
import type { ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import { Body, Controller, Delete, Get, Headers, HttpCode, Param, Post, Res } from '@nestjs/common';
import { GrpcMethod } from '@nestjs/microservices';
import { ApiBody, ApiExtraModels, ApiHeader, ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { EMPTY, type Observable } from 'rxjs';
import { currentPrincipal } from '../common/access.js';
import { AppError, invalidArgument } from '../common/app-error.js';
import { Config } from '../config/config.js';
import { ApiErrors, BODY_ERRORS } from '../api/api-errors.js';
import { DoneDto } from '../api/done.dto.js';
import { grpcGoneSignal, httpGoneSignal } from '../api/gone-signal.js';
import { writeAll } from '../api/grpc-server.js';
import { Needs } from '../api/permission.js';
import { RateLimited } from '../api/rate-limited.js';
import { toTimestamp } from '../api/protobuf-values.js';
import { validated } from '../api/validation-pipe.js';
import { parseAsOf } from './paging/as-of.js';
import { QUERY_ANSWER, QUERY_EXAMPLES, QueryAnswerDto, QueryDto, RunningQueriesDto } from './query.dto.js';
import { QueryStreamCounts } from './stream-counts.js';
import type { Page } from './query-answer.js';
import type { QueryRequest } from './query-request.js';
import { ReadPath } from './read-path.js';
import { BatchStreams } from './results/batch-stream.js';
import { ResultStreams, STREAM_FORMATS, type StreamFormat } from './results/result-stream.js';
import { RunningQueries } from './limits/running-queries.js';

const BATCH_ROWS = 1_000;
const BATCH_ROWS_MAX = 100_000;

interface GrpcQuery {
  readonly sql: string;
  readonly limit: number;
  readonly cursor: string;
}

interface GrpcStreamQuery {
  readonly sql: string;
  readonly batch_size: number;
  readonly cursor: string;
}

@ApiTags('query')
@Controller('v1')
@Needs('read')
export class QueryController {
  constructor(
    private readonly config: Config,
    private readonly readPath: ReadPath,
    private readonly batchStreams: BatchStreams,
    private readonly streams: ResultStreams,
    private readonly running: RunningQueries,
    private readonly streamCounts: QueryStreamCounts,
  ) {}

  @RateLimited('queries')
  @Post('query')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Run a SELECT',
    description:
      'Answers with a page of JSON. With Accept: application/x-ndjson, text/csv, application/vnd.apache.parquet or application/vnd.apache.arrow.stream it streams the whole result.',
  })
  @ApiHeader({
    name: 'Cache-Control',
    required: false,
    example: 'no-cache',
    description: 'no-cache: run the statement even if its answer is cached',
  })
  @ApiExtraModels(QueryAnswerDto)
  @ApiBody({ type: QueryDto, examples: QUERY_EXAMPLES })
  @ApiOkResponse(QUERY_ANSWER)
  @ApiErrors(...BODY_ERRORS, 'PERMISSION_DENIED', 'NOT_FOUND', 'RESOURCE_EXHAUSTED', 'CANCELLED', 'DEADLINE_EXCEEDED')
  async query(
    @Body() body: unknown,
    @Res() reply: FastifyReply,
    @Headers() { accept, 'cache-control': cacheControl }: IncomingHttpHeaders,
  ): Promise<void> {
    const query = { ...toRequest(validated(QueryDto, body), reply), isFresh: wantsFresh(cacheControl) };
    const format = formatOf(accept);
    if (format) await this.#stream(query, format, reply);
    else await reply.header('content-type', 'application/json; charset=utf-8').send(pageText(await this.readPath.page(query)));
  }

  async #stream(query: QueryRequest, format: StreamFormat, reply: FastifyReply): Promise<void> {
    if (query.cursor)
      throw invalidArgument('a cursor continues pages of JSON; streams always carry the whole result, so leave the cursor out', [
        { field: 'cursor' },
      ]);
    if (query.limit !== undefined && query.limit < 1)
      throw invalidArgument(`limit must be at least 1, got ${query.limit}`, [{ field: 'limit' }]);
    const { bytes, queryId } = await this.streams.start(query, format);
    await reply
      .header('content-type', format.contentType ?? format.mediaType)
      .header('x-query-id', queryId)
      .send(bytes);
  }

  @RateLimited('queries')
  @GrpcMethod('MinIODBService', 'QueryData')
  async queryByGrpc(
    { sql, limit, cursor }: GrpcQuery,
    _metadata: unknown,
    call: ServerUnaryCall<unknown, unknown>,
  ): Promise<Record<string, unknown>> {
    const page = await this.readPath.page({
      sql,
      cursor,
      reader: currentPrincipal(),
      signal: grpcGoneSignal(call),
      ...(limit === 0 ? {} : { limit }),
    });
    return { result_json: `[${page.rows.join()}]`, has_more: page.hasMore, next_cursor: page.nextCursor };
  }

  @RateLimited('queries')
  @GrpcMethod('MinIODBService', 'StreamQuery')
  async streamQuery(
    { sql, batch_size: batchSize, cursor }: GrpcStreamQuery,
    _metadata: unknown,
    call: ServerWritableStream<unknown, unknown>,
  ): Promise<Observable<never>> {
    if (batchSize < 0 || batchSize > BATCH_ROWS_MAX)
      throw invalidArgument(`batch_size must be from 1 to ${BATCH_ROWS_MAX}, or 0 for ${BATCH_ROWS}`, [{ field: 'batch_size' }]);
    const request: QueryRequest = {
      sql,
      cursor,
      reader: currentPrincipal(),
      signal: grpcGoneSignal(call),
      // The library cancels a call at its deadline only once its client has read what was sent before.
      timeoutMs: Math.max(1, Math.min(this.config.query.timeout_ms_max, leftMs(call.getDeadline()))),
    };
    await writeAll(call, this.#messages(request, batchSize || BATCH_ROWS));
    return EMPTY;
  }

  async *#messages(request: QueryRequest, batchRows: number): AsyncIterable<unknown> {
    for await (const batch of this.batchStreams.batches(request, batchRows)) {
      this.streamCounts.note(batch.tables, batch.rows.length);
      yield { records: batch.rows.map(toRecord), has_more: batch.hasMore, cursor: batch.cursor };
    }
  }

  @Get('queries')
  @ApiOperation({ summary: 'List running queries' })
  @ApiOkResponse({ type: RunningQueriesDto })
  @ApiErrors()
  list(): RunningQueriesDto {
    const queries = this.running.list(currentPrincipal());
    return { queries, total: queries.length };
  }

  @Delete('queries/:id')
  @ApiOperation({ summary: 'Stop a query', description: 'Its caller gets 499 CANCELLED.' })
  @ApiParam({ name: 'id', description: 'query_id from GET /v1/queries' })
  @ApiOkResponse({ type: DoneDto })
  @ApiErrors(...BODY_ERRORS, 'NOT_FOUND')
  kill(@Param('id') id: string): DoneDto {
    this.running.kill(id, currentPrincipal());
    return { success: true, message: `query ${id} stopped` };
  }
}

function toRequest(body: QueryDto, reply: FastifyReply): QueryRequest {
  const sql = body.sql ?? '';
  if (sql.trim() === '' && !body.cursor) throw invalidArgument('sql is missing', [{ field: 'sql' }]);
  if (!sql.isWellFormed()) throw invalidArgument('sql contains half a surrogate pair, which is not valid text', [{ field: 'sql' }]);
  const asOf = parseAsOf(body.as_of);
  return {
    sql,
    reader: currentPrincipal(),
    params: body.params,
    signal: httpGoneSignal(reply.raw),
    ...(body.limit == null ? {} : { limit: body.limit }),
    ...(body.cursor == null ? {} : { cursor: body.cursor }),
    ...(body.timeout_ms == null ? {} : { timeoutMs: body.timeout_ms }),
    ...(asOf ? { asOf } : {}),
  };
}

/** Whole milliseconds until the deadline of a call. */
function leftMs(deadline: Date | number): number {
  return Math.ceil(Number(deadline) - Date.now());
}

/** As in HTTP: no-cache wants an answer that was made for this request, no-store one that nobody keeps. */
function wantsFresh(cacheControl: string | undefined): boolean {
  return /(^|[\s,])no-(cache|store)([\s,=]|$)/i.test(cacheControl ?? '');
}

function formatOf(accept: string | undefined): StreamFormat | undefined {
  const wanted = (accept ?? '*/*').split(',').map((part) => part.split(';')[0]?.trim().toLowerCase() ?? '');
  if (wanted.some((type) => type === '*/*' || type === 'application/json' || type === 'application/*')) return undefined;
  const format = STREAM_FORMATS.find(({ mediaType }) => wanted.includes(mediaType));
  if (format) return format;
  throw new AppError(
    'INVALID_ARGUMENT',
    `Accept ${(accept ?? '').slice(0, 200)} is not a supported result format; supported: application/json, ${STREAM_FORMATS.map(({ mediaType }) => mediaType).join(', ')}`,
  );
}

/** The answer as text: rows are JSON already, and must not be parsed and printed again, which would cost digits. */
function pageText(page: Page): string {
  const head = JSON.stringify({ columns: page.columns });
  const tail = JSON.stringify({ row_count: page.rows.length, has_more: page.hasMore, next_cursor: page.nextCursor, stats: page.stats });
  return `${head.slice(0, -1)},"rows":[${page.rows.join()}],${tail.slice(1)}`;
}

/** A row as a record: id and timestamp have fields of their own, the other columns are the payload. */
function toRecord(text: string): Record<string, unknown> {
  const row = JSON.parse(exactInStruct(text)) as Record<string, unknown>;
  const { id, timestamp, ...payload } = row;
  const isInstant = typeof timestamp === 'string' && INSTANT.test(timestamp);
  return {
    id: typeof id === 'string' ? id : '',
    timestamp: isInstant ? toTimestamp(timestamp) : null,
    payload: {
      ...(typeof id === 'string' || id === undefined ? {} : { id }),
      ...payload,
      ...(isInstant || timestamp === undefined ? {} : { timestamp }),
    },
  };
}

/** As results have instants; another text in a column of that name is no instant. */
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;

/** A Struct has doubles only: a number of which a double would lose digits goes as text. */
function exactInStruct(text: string): string {
  if (!/[\d.]{16}/.test(text)) return text;
  return text.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.]{15,}(?![\d.eE])/g, (token) =>
    token.startsWith('"') || isExactDouble(token) ? token : `"${token}"`,
  );
}

function isExactDouble(digits: string): boolean {
  const number = Number(digits);
  if (!digits.includes('.')) return Number.isSafeInteger(number);
  return digits.replace(/\.?0+$/, '') === String(number);
}
