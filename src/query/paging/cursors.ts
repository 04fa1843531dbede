/**
 * Results that go on. A cursor names a result that the server keeps and a position in it, signed, so that it cannot be made up or bent. The result
 * is either the pinned state of the tables, to be read again from the position (for scans, whose order repeats), or the rows themselves, kept in the
 * engine (for everything else). Both give the same page however often it is asked for. Kept results are few and short-lived: past the bound the one
 * used longest ago gives way.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Principal } from '../../common/access.js';
import { type AppError, invalidArgument } from '../../common/app-error.js';
import type { Column } from '../prepared-statement.js';
import type { ReadView } from '../../tables/view/read-view.js';
import type { QueryParameters } from '../query-parameters.js';

export interface OpenResult {
  /** The statement as it came: what a continuation is listed, bounded and logged by. */
  readonly callerSql: string;
  /** True when values of its rows may be much larger than what they are made from. */
  readonly mayAmplify: boolean;
  /** SQL of all rows in their order: the caller's statement without its end, or one over the kept rows. */
  readonly sql: string;
  readonly parameters: QueryParameters;
  readonly columns: readonly Column[];
  /** Whose result it is, with the rights of then: with other rights it is another's. */
  readonly owner: string;
  /** Hash of the caller's statement and parameters. */
  readonly statement: string;
  /** Tables pinned for it; empty when the rows themselves are kept. */
  readonly views: ReadonlyMap<string, ReadView>;
  /** Names of the tables that it was made from. */
  readonly tables: readonly string[];
  readonly release: () => void;
}

const ID_BYTES = 12;
const SIGNATURE_BYTES = 16;
const TOKEN_BYTES = ID_BYTES + 8 + SIGNATURE_BYTES;

export class Cursors {
  readonly #key = randomBytes(32);
  readonly #results: LRUCache<string, OpenResult>;

  constructor(
    resultsMax: number,
    private readonly ttlSeconds: number,
  ) {
    this.#results = new LRUCache({
      max: resultsMax,
      ttl: ttlSeconds * 1_000,
      ttlAutopurge: true,
      dispose: (result) => result.release(),
    });
  }

  get count(): number {
    return this.#results.size;
  }

  /** Keeps a result. @returns its name for `token` */
  keep(result: OpenResult): string {
    const id = randomBytes(ID_BYTES).toString('hex');
    this.#results.set(id, result);
    return id;
  }

  token(id: string, position: number): string {
    const body = Buffer.alloc(ID_BYTES + 8);
    Buffer.from(id, 'hex').copy(body);
    body.writeBigUInt64LE(BigInt(position), ID_BYTES);
    return Buffer.concat([body, this.#sign(body)]).toString('base64url');
  }

  #sign(body: Buffer): Buffer {
    return createHmac('sha256', this.#key).update(body).digest().subarray(0, SIGNATURE_BYTES);
  }

  /**
   * @param reader who asks
   * @param statement what the request asks for with the cursor; undefined when it names the cursor alone
   * @throws AppError INVALID_ARGUMENT for a cursor that is forged, belongs to another statement, or has expired
   */
  find(
    token: string,
    { policy }: Pick<Principal, 'policy'>,
    statement: string | undefined,
  ): { readonly id: string; readonly result: OpenResult; readonly position: number } {
    const bytes = Buffer.from(token, 'base64url');
    if (bytes.length !== TOKEN_BYTES || bytes.toString('base64url') !== token) throw refused('it was not made by this server (wrong form)');
    const body = bytes.subarray(0, ID_BYTES + 8);
    if (!timingSafeEqual(bytes.subarray(ID_BYTES + 8), this.#sign(body)))
      throw refused('its signature does not match: it was changed, or made before the last restart of the server');
    const id = body.toString('hex', 0, ID_BYTES);
    const result = this.#results.get(id);
    if (!result) throw this.expired();
    if (result.owner !== policy) throw refused('it belongs to another caller, or your rights have changed since');
    if (statement !== undefined && result.statement !== statement)
      throw refused('it belongs to another query; send the same sql, params and as_of, or the cursor alone');
    return { id, result, position: Number(body.readBigUInt64LE(ID_BYTES)) };
  }

  /** False once a result was given up, be it under a reader. */
  isOpen(id: string): boolean {
    return this.#results.has(id);
  }

  expired(): AppError {
    return refused(`it has expired (cursors live ${this.ttlSeconds} s, or less when many results are open); run the query again`);
  }

  close(): void {
    this.#results.clear();
  }
}

function refused(reason: string): AppError {
  return invalidArgument(`the cursor cannot be used: ${reason}`, [{ field: 'cursor', reason }]);
}

/** Tells one statement with its parameters from another. */
export function statementHash(sql: string, params: unknown, asOf: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify([sql.trim(), params ?? null, asOf ?? null]))
    .digest('hex');
}
