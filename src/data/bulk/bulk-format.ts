/** The formats of bulk bodies: by the media type that names them, by name, or by their first bytes. */
import { open } from 'node:fs/promises';
import { STREAMED_JSON } from '../../api/http-server.js';
import { AppError, invalidArgument } from '../../common/app-error.js';

export const BULK_FORMATS = ['ndjson', 'json', 'csv', 'tsv', 'parquet', 'arrow'] as const;
export type BulkFormat = (typeof BULK_FORMATS)[number];

/** The first of each format is the one that documents name. */
const MEDIA_TYPES: Readonly<Record<BulkFormat, readonly string[]>> = {
  ndjson: [
    'application/x-ndjson',
    'application/ndjson',
    'application/jsonl',
    'application/x-jsonl',
    'application/jsonlines',
    'application/x-jsonlines',
    'application/json-lines',
    'text/x-ndjson',
    'text/jsonl',
  ],
  json: ['application/json', 'text/json', STREAMED_JSON],
  csv: ['text/csv', 'application/csv', 'text/x-csv'],
  tsv: ['text/tab-separated-values', 'text/tsv'],
  parquet: ['application/vnd.apache.parquet', 'application/parquet', 'application/x-parquet'],
  arrow: ['application/vnd.apache.arrow.stream', 'application/vnd.apache.arrow.file', 'application/x-feather', 'application/x-arrow'],
};
/** Says nothing of what it is: the first bytes do. */
const ANY_BYTES = 'application/octet-stream';

const BULK_MEDIA_TYPES: readonly string[] = [...Object.values(MEDIA_TYPES).flatMap(([first = '']) => first), ANY_BYTES];

/**
 * @param mediaType of the body; parameters such as a charset are passed over
 * @returns undefined when only its first bytes tell
 * @throws AppError UNSUPPORTED_MEDIA_TYPE naming those there are
 */
export function bulkFormatOf(mediaType: string): BulkFormat | undefined {
  const type = mediaType.split(';')[0]?.trim().toLowerCase() ?? '';
  if (type === ANY_BYTES) return undefined;
  const format = BULK_FORMATS.find((candidate) => MEDIA_TYPES[candidate].includes(type));
  if (format) return format;
  throw new AppError(
    'UNSUPPORTED_MEDIA_TYPE',
    `Content-Type ${mediaType === '' ? '(none)' : mediaType.slice(0, 100)} is not a bulk format; supported: ${BULK_MEDIA_TYPES.join(', ')}; ` +
      `or say it in the address: format=${BULK_FORMATS.join(' | ')}`,
  );
}

/** @throws AppError INVALID_ARGUMENT naming those there are */
export function parseFormat(name: unknown): BulkFormat {
  const format = BULK_FORMATS.find((candidate) => candidate === name);
  if (format) return format;
  throw invalidArgument(`format ${JSON.stringify(name)?.slice(0, 100)} is not a bulk format; supported: ${BULK_FORMATS.join(', ')}`, [
    { field: 'format' },
  ]);
}

const SNIFFED_BYTES = 4_096;
const ARROW_CONTINUATION = Buffer.from('ffffffff', 'hex');

/** @throws AppError INVALID_ARGUMENT for bytes that begin like none of those that can be told */
export async function sniffFormat(path: string): Promise<BulkFormat> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(SNIFFED_BYTES), 0, SNIFFED_BYTES, 0);
    const first = buffer.subarray(0, bytesRead);
    if (first.subarray(0, 4).toString('latin1') === 'PAR1') return 'parquet';
    if (first.subarray(0, 6).toString('latin1') === 'ARROW1' || first.subarray(0, 4).equals(ARROW_CONTINUATION)) return 'arrow';
    const [sign] = first
      .toString('utf8')
      .replace(/^\ufeff/, '')
      .trimStart();
    if (sign === '{' || sign === '[') return 'json';
  } finally {
    await file.close();
  }
  throw invalidArgument(
    `the body begins like no format that can be told by that; name it with Content-Type, or with format=${BULK_FORMATS.join(' | ')}`,
    [{ field: 'format' }],
  );
}
