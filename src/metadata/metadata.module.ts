/** What `/v1/metadata/*` is about: backups of the catalogue and of the tables' settings, and the way back. */
import { Module, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { BackupsModule } from '../backups/backups.module.js';
import { BackupSchedule } from './backup-schedule.js';
import { MetadataBackups } from './metadata-backups.js';
import { MetadataRestore } from './metadata-restore.js';
import { RestorePlans } from './restore-plan.js';
import { MetadataController } from './metadata.controller.js';
import { StoredBackups } from './stored-backups.js';

@Module({
  imports: [BackupsModule],
  controllers: [MetadataController],
  providers: [StoredBackups, MetadataBackups, BackupSchedule, RestorePlans, MetadataRestore],
})
export class MetadataModule implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(private readonly schedule: BackupSchedule) {}

  onApplicationBootstrap(): void {
    this.schedule.start();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.schedule.stop();
  }
}
