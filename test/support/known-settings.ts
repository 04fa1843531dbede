/** What the server makes of environment variables, without starting it: deployments are tested for variables that nobody reads. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from '@jest/globals';
import type { Config } from '../../src/config/config.js';
import { loadConfig } from '../../src/config/load-config.js';
import { expectThat } from './expectations.js';

const NOWHERE = fileURLToPath(new URL('../../config-of-nobody', import.meta.url));

/** @param file as given with --config, relative to the repository */
export function configOf(environment: Record<string, string>, file?: string): Config {
  return loadConfig(NOWHERE, file === undefined ? undefined : path.join(path.dirname(NOWHERE), file), environment);
}

/** Each variable changes the configuration, or is refused, when it has another value. */
export function expectKnownSettings(environment: Record<string, string>): void {
  const asGiven = JSON.stringify(configOf(environment));
  for (const name of Object.keys(environment)) expectThat(effectOf(environment, name), `${name} has an effect`).not.toBe(asGiven);
  expect(effectOf({ ...environment, MINIO_ENDPONT: 'x' }, 'MINIO_ENDPONT')).toBe(asGiven);
}

function effectOf(environment: Record<string, string>, name: string): string {
  try {
    return JSON.stringify(configOf({ ...environment, [name]: 'another-value' }));
  } catch (error) {
    return String(error);
  }
}
