/** Names for temporary files in one directory, which is emptied at the start: what is in it never outlives the process's use of it. */
import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';

export class ScratchFiles {
  private constructor(readonly directory: string) {}

  static open(directory: string): ScratchFiles {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    return new ScratchFiles(directory);
  }

  /** A path that nobody uses. */
  path(extension: string): string {
    return path.join(this.directory, `${randomUUID()}.${extension}`);
  }

  /** Files, and directories with all that is in them. */
  async remove(...files: readonly string[]): Promise<void> {
    await Promise.all(files.map((file) => rm(file, { force: true, recursive: true })));
  }
}
