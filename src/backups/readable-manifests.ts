/** The manifests of backups that are not damaged; the others are told of in the log. */
import { Inject, Injectable } from '@nestjs/common';
import pMap from 'p-map';
import { AppError } from '../common/app-error.js';
import type { Logger } from '../common/logger.js';
import { LOGGER } from '../common/tokens.js';
import type { RemoteObjectStore } from '../storage/remote-object-store.js';
import { type Manifest, readManifest } from './manifest.js';

const READING_MAX = 4;

@Injectable()
export class ReadableManifests {
  constructor(@Inject(LOGGER) private readonly logger: Logger) {}

  async of(store: RemoteObjectStore, ids: readonly string[]): Promise<Manifest[]> {
    const read = async (id: string): Promise<Manifest | undefined> => {
      try {
        return await readManifest(store, id);
      } catch (error) {
        if (!(error instanceof AppError) || (error.code !== 'DATA_CORRUPTION' && error.code !== 'NOT_FOUND')) throw error;
        this.logger.error({ err: error }, `backup ${id} was skipped: ${error.message}`);
        return undefined;
      }
    };
    return (await pMap(ids, read, { concurrency: READING_MAX })).filter((manifest) => manifest !== undefined);
  }
}
