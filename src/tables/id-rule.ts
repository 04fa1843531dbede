/** Which texts are ids of a table: any printable text, unless its `id_validation` says more. */
import { RE2JS } from 're2js';
import { messageOf } from '../common/app-error.js';
import type { TableConfig } from './table-config.js';

export interface IdRule {
  readonly lengthMax: number;
  readonly fits: (id: string) => boolean;
  readonly description: string;
  /** True for the rule that a table has unless it sets another. */
  readonly isDefault: boolean;
  /** Why its expression cannot be used: of a table from before expressions were checked so. Nothing can be written then. */
  readonly refusal?: string;
}

/** Longest id of the default rule, in bytes of UTF-8, and of a rule that says nothing of it, in characters. */
const LENGTH_MAX = 255;
/** Any text in one line that can be seen. */
const PRINTABLE = /^[^\p{Cc}\p{Zl}\p{Zp}\p{Cs}]+$/u;
/** Steps of an expression that may be taken for each character of an id: the worst of this size takes about 2 ms for an id of 1,000 characters. */
const PATTERN_STEPS_MAX = 1_100;
/** RE2 would read it as a letter. */
const BACKREFERENCE = /(?<!\\)(?:\\\\)*\\[k1-9]/;

/** The rule that the ids of a table follow; one that cannot be used says why, and lets nothing through. */
export function idRuleOf({ id_validation: { max_length: lengthMax, pattern = '', allowed_chars: characters = '' } }: TableConfig): IdRule {
  const isDefault = pattern === '' && characters === '' && lengthMax === undefined;
  if (isDefault) return DEFAULT_RULE;
  const limits = { lengthMax: lengthMax ?? LENGTH_MAX, isDefault };
  try {
    const tests: IdTest[] = [];
    if (pattern !== '') tests.push(patternTest(pattern));
    if (characters !== '') tests.push(charactersTest(characters));
    const matching = tests.length === 0 ? 'of printable text' : `matching ${tests.map(({ source }) => source).join(' and ')}`;
    if (tests.length === 0) tests.push({ source: '', fits: (id) => PRINTABLE.test(id) });
    const description = `1 to ${limits.lengthMax} characters ${matching}`;
    return { ...limits, fits: (id) => tests.every((test) => test.fits(id)), description };
  } catch (error) {
    return { ...limits, fits: () => false, description: '', refusal: messageOf(error) };
  }
}

interface IdTest {
  readonly source: string;
  readonly fits: (id: string) => boolean;
}

const DEFAULT_RULE: IdRule = {
  lengthMax: LENGTH_MAX,
  fits: (id) => PRINTABLE.test(id) && (3 * id.length <= LENGTH_MAX || Buffer.byteLength(id) <= LENGTH_MAX),
  description: `1 to ${LENGTH_MAX} bytes of printable text`,
  isDefault: true,
};

/** SQL of ids that the default rule does not let through. */
export function isNoDefaultId(column: string): string {
  return `NOT regexp_full_match(${column}, '[^\\p{Cc}\\p{Zl}\\p{Zp}]+') OR strlen(${column}) > ${LENGTH_MAX}`;
}

/**
 * An expression of a client, run by RE2: an engine that goes back in its text can take for ever, and everybody waits for it.
 * @throws Error for what RE2 cannot have, or would read otherwise than JavaScript
 */
function patternTest(pattern: string): IdTest {
  const source = `^(?:${pattern})$`;
  // Never run: it refuses what is no expression of JavaScript, which RE2 may know as something else.
  void new RegExp(source, 'u');
  if (BACKREFERENCE.test(pattern)) throw new Error('it has a backreference');
  // To compile one of many repetitions takes long as well.
  assertSteps([...pattern.matchAll(/\{(?:\d+,)?(\d+)\}/g)].reduce((sum, [, count]) => sum + Number(count), 0));
  const expression = RE2JS.compile(RE2JS.translateRegExp(source));
  assertSteps(expression.programSize());
  return { source, fits: (id) => expression.test(id) };
}

function assertSteps(steps: number): void {
  if (steps > PATTERN_STEPS_MAX)
    throw new Error(`it is too large (${steps} steps for each character, at most ${PATTERN_STEPS_MAX}); repeat less`);
}

/** One class, repeated: no engine goes back in it. */
function charactersTest(characters: string): IdTest {
  const expression = new RegExp(`^[${characters.replace(/[\]\\^]/g, '\\$&')}]+$`, 'u');
  return { source: expression.source, fits: (id) => expression.test(id) };
}
