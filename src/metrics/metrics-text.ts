/** The text that Prometheus reads. The metrics are declared beside the parts that they tell of, in `*.metrics.ts`, and collected when they are asked for. */
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
