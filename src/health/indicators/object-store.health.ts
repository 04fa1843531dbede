/** The store of the tables is asked for an object that is not there. */
import { Inject, Injectable } from '@nestjs/common';
import type { HealthIndicatorResult } from '@nestjs/terminus';
import { OBJECT_STORE } from '../../common/tokens.js';
import type { ObjectStore } from '../../storage/object-store.js';
import type { Indicator } from './indicator.js';
import { Trial } from './trial.js';

@Injectable()
export class ObjectStoreHealth implements Indicator {
  constructor(
    private readonly trial: Trial,
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
  ) {}

  check(): PromiseLike<HealthIndicatorResult> {
    return this.trial.of('object_store', () => this.store.get('_catalogue/health-check'));
  }
}
