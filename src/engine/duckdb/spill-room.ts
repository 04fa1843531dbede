/** How much the engine may spill where nobody says it: the disk is the write-ahead log's first, because a full one stops every write. */
import { mkdirSync } from 'node:fs';
import { statfs } from 'node:fs/promises';

/** Also on a disk that is nearly full, small sorts work. */
const SPILL_BYTES_MIN = 64 * 1_024 * 1_024;

/**
 * @param logBytesMax what the write-ahead log on the same disk may take
 * @returns half of the bytes that are free now and not the log's
 */
export async function spillRoom(directory: string, logBytesMax: number): Promise<number> {
  mkdirSync(directory, { recursive: true });
  const { bavail, bsize } = await statfs(directory);
  return Math.max(SPILL_BYTES_MIN, Math.floor((bavail * bsize - logBytesMax) / 2));
}
