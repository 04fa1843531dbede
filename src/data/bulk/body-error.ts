/** What the engine says of a body that it cannot read, as an error that the client can act on. */
import { AppError, invalidArgument, messageOf } from '../../common/app-error.js';
import { isOutOfMemory } from '../../engine/duckdb/engine.js';

const SHOWN_LENGTH_MAX = 300;

/**
 * @param what is wrong, as the beginning of a sentence
 * @param file of the body, whose path is ours to know
 */
export function bodyError(error: unknown, what: string, ...files: readonly string[]): AppError {
  const message = messageOf(error);
  if (/No space left on device|Disk quota exceeded/.test(message))
    return new AppError('UNAVAILABLE', 'the body could not be received: the disk is full; free some space and send it again', {
      cause: error,
    });
  if (isOutOfMemory(error))
    return new AppError(
      'RESOURCE_EXHAUSTED',
      'the body needs more memory than the engine may use (query.memory_bytes_max); send it in parts',
      {
        cause: error,
      },
    );
  const lines = message.split('\n').map((line) => line.trim());
  const shown = lines
    // What the engine points at is our statement, not the client's.
    .filter((line) => line !== '' && line !== '^' && !/^LINE \d+:/.test(line))
    .slice(0, 2)
    .join(' ');
  return invalidArgument(`${what}: ${files.reduce((text, file) => text.replaceAll(file, 'body'), shown).slice(0, SHOWN_LENGTH_MAX)}`);
}
