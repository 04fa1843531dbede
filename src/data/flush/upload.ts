/** Stage 3 of a flush: its files become objects of the store, under names that no other object ever had. */
import { Inject, Injectable } from '@nestjs/common';
import { OBJECT_STORE } from '../../common/tokens.js';
import type { ObjectStore } from '../../storage/object-store.js';
import type { Table } from '../../tables/table.js';
import { bulkFilesOf, bulkPath, type Flush } from './flush.js';

@Injectable()
export class UploadFiles {
  constructor(@Inject(OBJECT_STORE) private readonly store: ObjectStore) {}

  async run(table: Table, flush: Flush): Promise<void> {
    for (const file of flush.encoded ?? []) await this.store.putFileIfAbsent(table.keyOf(file), file.local);
    for (const file of bulkFilesOf(flush)) await this.store.putFileIfAbsent(table.keyOf({ path: bulkPath(file) }), file.path);
    flush.isUploaded = true;
  }
}
