/** The text that Prometheus reads. Metrics are declared beside the parts that they describe, in `*.metrics.ts`, and collected on demand. */
import { Injectable } from '@nestjs/common';
import { register } from 'prom-client';

@Injectable()
export class MetricsText {
  #scrapes = 0;

  /** How often it was asked for. */
  get scrapes(): number {
    return this.#scrapes;
  }

  read(): Promise<string> {
    this.#scrapes += 1;
    return register.metrics();
  }
}
