/** Starts the server: options → configuration → log → application → ready line. SIGTERM and SIGINT stop it in order. */
import 'reflect-metadata';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startApplication } from './application.js';
import { isSystemError, messageOf } from './common/app-error.js';
import type { Config } from './config/config.js';
import { loadConfig } from './config/load-config.js';
import { fitToMachine, thisMachine } from './config/machine-limits.js';
import { type Logger, openLogger } from './common/logger.js';
import { lockDirectory } from './storage/directory-lock.js';
import { openTracing } from './api/open-tracing.js';

const CONFIG_DIRECTORY = fileURLToPath(new URL('../config', import.meta.url));
const MS_PER_SECOND = 1_000;

function readConfig(): Config {
  const { values } = parseArgs({ options: { config: { type: 'string' } }, allowPositionals: false });
  const config = loadConfig(CONFIG_DIRECTORY, values.config, process.env);
  fitToMachine(config, thisMachine());
  return config;
}

/** The system had no descriptor or no memory left for something: it was not done, and nothing else was touched. */
const SHORTAGES = ['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS', 'EAGAIN'];
/** The other end of a connection went away. */
const LOST_PEERS = ['ECONNRESET', 'EPIPE', 'ECONNABORTED', 'ETIMEDOUT', 'ERR_HTTP2_STREAM_CANCEL'];

/**
 * What nobody caught. A shortage of the system and a lost peer leave everything as it was; after anything else nobody knows how things stand, and the process
 * ends: what is acknowledged is in the write-ahead log.
 */
function surviveOrEnd(error: unknown, logger: Logger): void {
  if (isSystemError(error, ...SHORTAGES, ...LOST_PEERS)) {
    logger.error({ err: error }, `an error was not caught, the server goes on: ${messageOf(error)}`);
    return;
  }
  logger.fatal(
    { err: error },
    `an error was not caught, the server ends; what is acknowledged is safe in the write-ahead log: ${messageOf(error)}`,
  );
  process.exit(1);
}

async function start(config: Config, logger: Logger): Promise<void> {
  const closeTracing = await openTracing(config, logger);
  const application = await startApplication(config, logger);
  const stop = (signal: string): void => {
    logger.info({ signal }, 'stopping: new requests are refused, running ones are finished');
    const deadline = setTimeout(() => {
      logger.warn('the stop took too long; what is acknowledged is safe in the write-ahead log');
      // Not process.exit: it would wait for a statement of the engine that does not end.
      process.kill(process.pid, 'SIGKILL');
    }, config.server.shutdown_seconds * MS_PER_SECOND);
    void application
      .close()
      .then(() => closeTracing?.())
      .then(
        () => {
          clearTimeout(deadline);
          process.exit(0);
        },
        (error: unknown) => {
          logger.error({ err: error }, 'the stop failed; what is acknowledged is safe in the write-ahead log');
          process.exit(1);
        },
      );
  };
  process.once('SIGTERM', () => stop('SIGTERM'));
  process.once('SIGINT', () => stop('SIGINT'));
  logger.info({ rest: application.restUrl, grpc: application.grpcAddress }, 'server ready');
  process.stdout.write(
    `MinIODB ready: rest=${application.restUrl} grpc=${application.grpcAddress} data=${path.resolve(config.data_dir)}\n`,
  );
}

try {
  const config = readConfig();
  const logger = openLogger(config.log);
  process.on('unhandledRejection', (error) => logger.error({ err: error }, 'unhandled rejection'));
  process.on('uncaughtException', (error) => surviveOrEnd(error, logger));
  try {
    await lockDirectory(path.resolve(config.data_dir));
    await start(config, logger);
  } catch (error) {
    logger.fatal({ err: error }, `the start failed: ${messageOf(error)}`);
    process.exit(1);
  }
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exit(1);
}
