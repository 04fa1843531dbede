/**
 * A batch of records as the text that it came in: `{"table":"…","records":[…]}`, in this order, as clients write it. The route may read the records
 * from their bytes, and parses the whole only if it has to.
 */
export class BatchText {
  private constructor(
    /** As it stands there; it may be no name of a table. */
    readonly table: string,
    /** The array. */
    readonly records: Buffer,
    /** @throws AppError INVALID_ARGUMENT for anything but JSON in UTF-8 */
    readonly parsed: () => unknown,
  ) {}

  /** @returns undefined for bytes that do not begin and end like a batch, and for so few that reading them twice would cost more than it saves */
  static of(bytes: Buffer, parsed: () => unknown): BatchText | undefined {
    if (bytes.length < BYTES_MIN) return undefined;
    const [head, table] = HEAD.exec(bytes.toString('latin1', 0, HEAD_BYTES_MAX)) ?? [];
    const [tail] = TAIL.exec(bytes.toString('latin1', bytes.length - TAIL_BYTES_MAX)) ?? [];
    if (head === undefined || table === undefined || tail === undefined) return undefined;
    return new BatchText(table, bytes.subarray(head.length, bytes.length - tail.length), parsed);
  }
}

const BYTES_MIN = 4_096;
const HEAD = /^\s*\{\s*"table"\s*:\s*"(\w+)"\s*,\s*"records"\s*:/;
const HEAD_BYTES_MAX = 256;
const TAIL = /\s*\}\s*$/;
const TAIL_BYTES_MAX = 64;
