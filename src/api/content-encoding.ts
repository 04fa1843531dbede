/** The packings of request bodies, wherever a body is read. */
import { Duplex } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import { AppError } from '../common/app-error.js';
import { unzstd } from './unzstd.js';

const CONTENT_ENCODINGS = 'gzip, deflate, br, zstd';

/**
 * Streams that unpack a body. Names of codings have no case (RFC 9110, 8.4.1).
 * @param encoding value of Content-Encoding
 * @returns none for a body that is not packed
 * @throws AppError UNSUPPORTED_MEDIA_TYPE naming the packings there are
 */
export function unpackers(encoding = ''): Duplex[] {
  switch (encoding.trim().toLowerCase()) {
    case '':
    case 'identity':
      return [];
    case 'gzip':
    case 'x-gzip':
      return [createGunzip()];
    case 'deflate':
      return [createInflate()];
    case 'br':
      return [createBrotliDecompress()];
    case 'zstd':
      return [Duplex.from(unzstd)];
    default:
      throw new AppError(
        'UNSUPPORTED_MEDIA_TYPE',
        `Content-Encoding ${encoding.slice(0, 100)} is not supported; supported: ${CONTENT_ENCODINGS}, or none`,
      );
  }
}
