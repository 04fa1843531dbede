/** Hashes that go with an object: the store checks them on the way in, we check them on the way back. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';

export interface Digest {
  readonly sizeBytes: number;
  /** Hex. */
  readonly sha256: string;
  /** Base64, as the Content-MD5 header has it. */
  readonly md5: string;
}

const READ_BYTES = 1_024 * 1_024;

export function digestOf(bytes: Uint8Array): Digest {
  return {
    sizeBytes: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
    md5: createHash('md5').update(bytes).digest('base64'),
  };
}

/** @param range bytes [start, end) of the file; all of it when absent */
export async function digestOfFile(file: string, range?: { readonly start: number; readonly end: number }): Promise<Digest> {
  const sha256 = createHash('sha256');
  const md5 = createHash('md5');
  let sizeBytes = 0;
  for await (const chunk of readRange(file, range)) {
    const bytes = chunk as Buffer;
    sha256.update(bytes);
    md5.update(bytes);
    sizeBytes += bytes.length;
  }
  return { sizeBytes, sha256: sha256.digest('hex'), md5: md5.digest('base64') };
}

export function readRange(file: string, range?: { readonly start: number; readonly end: number }): ReturnType<typeof createReadStream> {
  return createReadStream(file, { highWaterMark: READ_BYTES, ...(range ? { start: range.start, end: range.end - 1 } : {}) });
}
