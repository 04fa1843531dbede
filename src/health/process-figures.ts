/** The process and what it runs on: `resource_usage`, `system_info` and the delay of the event loop in `/v1/metrics`. */
import os from 'node:os';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Injectable } from '@nestjs/common';

const DELAY_RESOLUTION_MS = 20;
const NS_PER_MS = 1e6;

@Injectable()
export class ProcessFigures {
  readonly #loopDelay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });

  constructor() {
    this.#loopDelay.enable();
  }

  resources(): Record<string, number> {
    const { userCPUTime, systemCPUTime } = process.resourceUsage();
    return {
      cpu_user_ms: Math.round(userCPUTime / 1_000),
      cpu_system_ms: Math.round(systemCPUTime / 1_000),
      uptime_seconds: Math.floor(process.uptime()),
    };
  }

  system(): Record<string, string> {
    return {
      node_version: process.version,
      platform: process.platform,
      arch: process.arch,
      cpus: String(os.availableParallelism()),
      pid: String(process.pid),
    };
  }

  loopDelayMsP99(): number {
    return Math.round((this.#loopDelay.percentile(99) / NS_PER_MS) * 100) / 100;
  }
}
