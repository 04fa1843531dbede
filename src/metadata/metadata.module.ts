/** What `/v1/metadata/*` is about: backups of the catalogue and of the tables' settings, and the way back. */
import { Module, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { BackupsModule } from '../backups/backups.module.js';
import { MetadataBackups } from './metadata-backups.js';
import { MetadataRestore } from './metadata-restore.js';
import { RestorePlans } from './restore-plan.js';
import { MetadataController } from './metadata.controller.js';

@Module({
  imports: [BackupsModule],
  controllers: [MetadataController],
  providers: [MetadataBackups, RestorePlans, MetadataRestore],
})
export class MetadataModule implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(private readonly backups: MetadataBackups) {}

  onApplicationBootstrap(): void {
    this.backups.start();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.backups.stop();
  }
}
