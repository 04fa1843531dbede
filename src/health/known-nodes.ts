/** The nodes of this store: `nodes` of `/v1/status`. */
import { Injectable } from '@nestjs/common';
import { NodeDirectory, type NodeInfo } from '../cluster/node-directory.js';
import { AppError } from '../common/app-error.js';

@Injectable()
export class KnownNodes {
  constructor(private readonly nodeDirectory: NodeDirectory) {}

  /** Every node; this one alone when Redis cannot be asked. */
  async read(): Promise<NodeInfo[]> {
    try {
      return await this.nodeDirectory.list();
    } catch (error) {
      if (error instanceof AppError && error.code === 'UNAVAILABLE') return [this.nodeDirectory.self()];
      throw error;
    }
  }
}
