/** The formats of bulk bodies, by the media type that names them. */
import { AppError, invalidArgument } from '../../common/app-error.js';
import { STREAMED_JSON } from '../../api/http-server.js';

export type BulkFormat = 'ndjson' | 'json' | 'csv' | 'parquet' | 'arrow';

const FORMATS: Readonly<Record<string, BulkFormat>> = {
  'application/x-ndjson': 'ndjson',
  'application/json': 'json',
  'text/csv': 'csv',
  'application/vnd.apache.parquet': 'parquet',
  'application/vnd.apache.arrow.stream': 'arrow',
};

const BULK_MEDIA_TYPES: readonly string[] = Object.keys(FORMATS);

/** @param mediaType of the body; parameters such as a charset are passed over @throws AppError UNSUPPORTED_MEDIA_TYPE naming those there are */
export function bulkFormatOf(mediaType: string): BulkFormat {
  const type = mediaType.split(';')[0]?.trim().toLowerCase() ?? '';
  const format = type === STREAMED_JSON ? 'json' : FORMATS[type];
  if (format) return format;
  throw new AppError(
    'UNSUPPORTED_MEDIA_TYPE',
    `Content-Type ${mediaType === '' ? '(none)' : mediaType.slice(0, 100)} is not a bulk format; supported: ${BULK_MEDIA_TYPES.join(', ')}`,
  );
}

/** @param name as gRPC has it @throws AppError INVALID_ARGUMENT naming those there are */
export function parseFormat(name: string): BulkFormat {
  const format = Object.values(FORMATS).find((candidate) => candidate === name);
  if (format) return format;
  throw invalidArgument(`format "${name.slice(0, 100)}" is not a bulk format; supported: ${Object.values(FORMATS).join(', ')}`, [
    { field: 'format' },
  ]);
}
