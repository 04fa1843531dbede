/** Checks a body or query against its class and refuses what the class does not know, field by field, with what is allowed. */
import type { PipeTransform } from '@nestjs/common';
import { plainToInstance } from 'class-transformer';
import { type ValidationError, validateSync } from 'class-validator';
import { invalidArgument } from '../common/app-error.js';
import { isJsonObject, LosslessNumber } from '../common/json.js';

interface Class<T> {
  new (): T;
  /** Fields that are taken as they are, at the top of the body. */
  readonly rawFields?: readonly string[];
  /** Fields at the top of the body for which null says something; elsewhere it is as if the field was left out. */
  readonly nullFields?: readonly string[];
}

export class ValidationPipe<T extends object> implements PipeTransform<unknown, T> {
  constructor(private readonly type: Class<T>) {}

  transform(value: unknown): T {
    return validated(this.type, value);
  }
}

/** @throws AppError INVALID_ARGUMENT listing every field that does not fit */
export function validated<T extends object>(type: Class<T>, value: unknown): T {
  if (!isJsonObject(value ?? {})) throw invalidArgument('the request body must be a JSON object');
  const body = (value ?? {}) as Record<string, unknown>;
  const raw = Object.fromEntries((type.rawFields ?? []).filter((field) => Object.hasOwn(body, field)).map((field) => [field, body[field]]));
  const others = Object.fromEntries(Object.entries(body).filter(([field]) => !Object.hasOwn(raw, field)));
  assertNoInheritedNames(others);
  const nulls = Object.fromEntries((type.nullFields ?? []).filter((field) => others[field] === null).map((field) => [field, null]));
  const instance = Object.assign(plainToInstance(type, { ...(plainMembers(others) as object), ...nulls }), raw);
  const faults = validateSync(instance, { whitelist: true, forbidNonWhitelisted: true, forbidUnknownValues: false }).flatMap((error) =>
    faultsOf(error, ''),
  );
  if (faults.length === 0) return instance;
  throw invalidArgument(faults.map((fault) => fault.reason).join('; '), faults);
}

/**
 * A field called like what every object has (`constructor`, `toString`): the libraries here take it for that, pass over it or call it.
 * @throws AppError INVALID_ARGUMENT naming it
 */
function assertNoInheritedNames(value: unknown): void {
  if (Array.isArray(value)) value.forEach(assertNoInheritedNames);
  if (!isJsonObject(value)) return;
  for (const [field, member] of Object.entries(value)) {
    if (field in Object.prototype) throw invalidArgument(`unknown field ${field}`, [{ field }]);
    assertNoInheritedNames(member);
  }
}

/** Without members that are null, and with numbers that were kept as text as `number`: settings are small, and one that is not is out of range either way. */
function plainMembers(value: unknown): unknown {
  if (value instanceof LosslessNumber) return Number(value.value);
  if (Array.isArray(value)) return value.map(plainMembers);
  if (!isJsonObject(value)) return value;
  const given = Object.entries(value).filter(([, member]) => member !== null);
  return Object.fromEntries(given.map(([field, member]) => [field, plainMembers(member)]));
}

interface Fault {
  readonly field: string;
  readonly reason: string;
}

function faultsOf(error: ValidationError, parent: string): Fault[] {
  const field = parent + error.property;
  const own = Object.entries(error.constraints ?? {}).map(([rule, message]) => ({
    field,
    reason: rule === 'whitelistValidation' ? `unknown field ${field}` : parent + message,
  }));
  return [...own, ...(error.children ?? []).flatMap((child) => faultsOf(child, `${field}.`))];
}
