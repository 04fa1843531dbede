/**
 * One log for everything: JSON lines in the file (`level` spelled out, so `grep ERROR` works), and on the console the same lines, or a
 * readable form when the console is a terminal. Each line carries the id of the request it belongs to.
 */
import pino from 'pino';
import pretty from 'pino-pretty';
import { invalidArgument, messageOf } from './app-error.js';
import { currentRequestId } from './request-context.js';
import { RotatingFile, type RotatingFileOptions } from './rotating-file.js';

export type Logger = pino.Logger;

/** Where the log goes, and how much of it is kept. */
export interface LogSettings {
  readonly level: string;
  /** Empty: no file. */
  readonly file: string;
  readonly file_bytes_max: number;
  readonly files_kept: number;
}

/** Opens the log. Each line is written at once, so that what was logged before a crash is there. */
export function openLogger(config: LogSettings): Logger {
  const streams: pino.StreamEntry[] = [
    {
      level: config.level as pino.Level,
      stream: process.stdout.isTTY ? pretty({ sync: true, ignore: 'pid,hostname' }) : pino.destination({ fd: 1, sync: true }),
    },
  ];
  if (config.file !== '') {
    const { file, file_bytes_max: bytesMax, files_kept: filesKept } = config;
    streams.push({ level: config.level as pino.Level, stream: openFile({ file, bytesMax, filesKept, blockBytes: 0 }) });
  }
  return pino(
    {
      level: config.level,
      base: undefined,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label.toUpperCase() }) },
      mixin: () => {
        const requestId = currentRequestId();
        return requestId === '' ? {} : { request_id: requestId };
      },
    },
    pino.multistream(streams),
  );
}

/** @throws AppError INVALID_ARGUMENT when it cannot be written */
function openFile(options: RotatingFileOptions): RotatingFile {
  try {
    return new RotatingFile(options);
  } catch (error) {
    throw invalidArgument(
      `log.file: ${options.file} cannot be written (${messageOf(error)}); set another path, or an empty text for no file`,
    );
  }
}
