/**
 * Brings the files that a command looks for rows in to the local disk and keeps them there. Before the command is logged: once it is, it must be
 * applied, also when the object store has gone meanwhile.
 */
import { Injectable } from '@nestjs/common';
import { Config } from '../../config/config.js';
import { VisibleLsn } from '../../tables/view/visible-lsn.js';
import { filesSought } from './files-sought.js';
import type { HeldFiles } from './waiting.js';
import type { WriteCommand } from './write-command.js';

@Injectable()
export class HoldFiles {
  constructor(
    private readonly config: Config,
    private readonly visible: VisibleLsn,
  ) {}

  /** @returns what the caller releases; undefined when the command needs no files, or they are on the local disk anyway */
  async for(command: WriteCommand): Promise<HeldFiles | undefined> {
    const mayHold = this.config.storage.kind === 'local' ? undefined : filesSought(command);
    if (!mayHold) return undefined;
    const view = command.table.pin(this.visible.value);
    try {
      await view.open(mayHold);
    } catch (error) {
      view.release();
      throw error;
    }
    const paths = new Set(view.files.filter(({ file }) => mayHold(file)).map(({ file }) => file.path));
    return { mayHold, paths, release: () => view.release() };
  }
}
