/**
 * Functions that make large values out of small ones, or need a time that grows with the product of their arguments' lengths. The engine's memory
 * limit does not count values, and its interrupt does not reach into a function, so such a call has to ask first.
 *
 * Most statements have none, or with literals that keep it small, and run on the plain engine. One that has another runs on a connection where
 * these names are macros: each passes its arguments once through a lambda (so that none is worked out twice), asks `ALLOW` with the bytes and steps
 * that it will take, and calls the engine's function. Measured: three times the time of the function itself.
 */
import type { Node } from '../sql/syntax-tree.js';

/** `ALLOW(connection, bytes, steps)`; raises an error for more than there is. */
export const ALLOW = 'miniodb_allow';

/** What literals may come to without asking, in characters or elements. */
const SMALL = 1_000;
const SMALL_LIST = 10_000;
const SMALL_REPLACEMENT = 64;
/** With so many wildcards and an underscore, matching may take time by the power of the text's length. */
const WILDCARDS_MAX = 4;

const OPTIONS = 'options';

interface Amplifier {
  /** Its forms by their parameters. */
  readonly forms: readonly (readonly string[])[];
  /** What a call takes, over `r.PARAMETER`; of forms that lack a parameter it is left out by `has`. */
  readonly bytes?: (has: (parameter: string) => boolean) => string;
  readonly steps?: string;
  /** True for a call that is small whatever the rows hold. */
  readonly isSmall: (children: readonly Node[]) => boolean;
}

/** Parameters of functions that take any number of values. */
const VALUES = Array.from({ length: 24 }, (_, index) => `v${index}`);
const formsUpTo = (most: number): string[][] => VALUES.slice(0, most).map((_, index) => VALUES.slice(0, index + 1));

const never = (): boolean => false;
const always = (): boolean => true;
const text = (parameter: string): string => `strlen(r.${parameter}::VARCHAR)`;
const count = (parameter: string): string => `r.${parameter}::DOUBLE`;

/** Elements of a series of numbers or of instants: whichever its arguments can be read as. */
function seriesElements(has: (parameter: string) => boolean): string {
  const number = (parameter: string): string => `try_cast(r.${parameter}::VARCHAR AS DOUBLE)`;
  if (!has('b')) return number('a');
  const instant = (parameter: string): string => `try_cast(r.${parameter}::VARCHAR AS TIMESTAMP)`;
  const step = has('c') ? `nullif(abs(${number('c')}), 0)` : '1';
  const numbers = `abs(${number('b')} - ${number('a')}) / ${step}`;
  if (!has('c')) return numbers;
  return `coalesce(${numbers}, abs(epoch(${instant('b')} - ${instant('a')})) / nullif(abs(epoch(try_cast(r.c::VARCHAR AS INTERVAL))), 0), 0)`;
}

const SERIES: Amplifier = {
  forms: [['a'], ['a', 'b'], ['a', 'b', 'c']],
  bytes: (has) => `(1 + ${seriesElements(has)}) * 16`,
  isSmall: (children) => children.every((child) => Math.abs(numberOf(child)) <= SMALL_LIST / 2) && numberOf(children[2]) !== 0,
};
const PADDED: Amplifier = {
  forms: [['a', 'n', 'c']],
  bytes: () => `${count('n')} * 4`,
  isSmall: (children) => numberOf(children[1]) <= SMALL,
};
const RESIZED: Amplifier = {
  forms: [
    ['l', 'n'],
    ['l', 'n', 'v'],
  ],
  bytes: (has) => `${count('n')} * 16 * ${has('v') ? `greatest(1, ${text('v')})` : '1'}`,
  isSmall: (children) => numberOf(children[1]) <= SMALL,
};
/** Larger than its arguments only where it is used again and again: in a lambda, or a recursion. */
const JOINED: Amplifier = { forms: [['a', 'b']], bytes: () => `${text('a')} + ${text('b')}`, isSmall: always };
const DISTANCE: Amplifier = { forms: [['a', 'b']], steps: `${text('a')}::DOUBLE * ${text('b')}`, isSmall: never };
const SCORE: Amplifier = { ...DISTANCE, forms: [...DISTANCE.forms, ['a', 'b', 'cutoff']] };
const MATCH: Amplifier = {
  forms: [['a', 'b']],
  steps: `pow(${text('a')}, least(6, length(system.main.regexp_replace(r.b, '[^%*?]', '', 'g'))))`,
  isSmall: (children) => isEasyPattern(textOf(children[1])),
};
const FORMAT: Amplifier = {
  forms: formsUpTo(12),
  bytes: (has) => {
    const texts = VALUES.filter(has).map((each) => `r.${each}::VARCHAR`);
    const widths = `list_transform(regexp_extract_all(t, '[0-9]{4,12}'), lambda w : w::DOUBLE)`;
    return `coalesce(list_max(flatten(list_transform([${texts.join(', ')}], lambda t : ${widths}))), 0) * 4`;
  },
  isSmall: ([format]) => !/[0-9]{4}|\*|\{[^{}]*\{/.test(textOf(format) ?? '*'),
};
const JOINED_ALL: Amplifier = { ...JOINED, forms: formsUpTo(24), bytes: (has) => VALUES.filter(has).map(text).join(' + ') };

const JOINED_LISTS: Amplifier = {
  ...JOINED,
  forms: formsUpTo(24),
  bytes: (has) =>
    `(${VALUES.filter(has)
      .map((each) => `coalesce(len(r.${each}), 0)`)
      .join(' + ')}) * 16`,
};

const AMPLIFIERS: Readonly<Record<string, Amplifier>> = {
  repeat: {
    forms: [['a', 'n']],
    bytes: () => `greatest(16, ${text('a')}) * ${count('n')}`,
    isSmall: ([repeated, times]) => numberOf(times) * (textOf(repeated)?.length ?? SMALL_REPLACEMENT) <= SMALL,
  },
  lpad: PADDED,
  rpad: PADDED,
  range: SERIES,
  generate_series: SERIES,
  list_resize: RESIZED,
  array_resize: RESIZED,
  bar: {
    forms: [
      ['x', 'low', 'high'],
      ['x', 'low', 'high', 'w'],
    ],
    bytes: (has) => (has('w') ? `${count('w')} * 4` : '0'),
    isSmall: (children) => children[3] === undefined || numberOf(children[3]) <= SMALL,
  },
  bitstring: {
    forms: [['a', 'n']],
    bytes: () => `${count('n')} / 8`,
    steps: count('n'),
    isSmall: (children) => numberOf(children[1]) <= SMALL_LIST,
  },
  replace: {
    forms: [['a', 'b', 'c']],
    bytes: () => `${text('a')}::DOUBLE * (1 + ${text('c')} / greatest(1, ${text('b')}))`,
    isSmall: (children) => (textOf(children[2])?.length ?? Infinity) <= SMALL_REPLACEMENT,
  },
  regexp_replace: {
    forms: [
      ['a', 'b', 'c'],
      ['a', 'b', 'c', OPTIONS],
    ],
    bytes: () => `${text('a')}::DOUBLE * (1 + ${text('c')})`,
    isSmall: (children) => (textOf(children[2])?.length ?? Infinity) <= SMALL_REPLACEMENT,
  },
  printf: FORMAT,
  format: FORMAT,
  '||': JOINED,
  list_concat: JOINED_LISTS,
  list_cat: JOINED_LISTS,
  array_concat: JOINED_LISTS,
  array_cat: JOINED_LISTS,
  concat: JOINED_ALL,
  json_merge_patch: { ...JOINED, steps: `${text('a')} + ${text('b')}` },
  levenshtein: DISTANCE,
  editdist3: DISTANCE,
  damerau_levenshtein: DISTANCE,
  jaro_similarity: SCORE,
  jaro_winkler_similarity: SCORE,
  '~~': MATCH,
  '!~~': MATCH,
  '~~*': MATCH,
  '!~~*': MATCH,
  '~~~': MATCH,
};

/** Where a value grows out of itself, step by step. */
const GROWING = /^(list_reduce|array_reduce|reduce)$/;

/**
 * @param name in lower case
 * @returns true for a call that may take more than the engine counts
 */
export function mayAmplify(name: string, call: Node, isInLambda: boolean): boolean {
  if (GROWING.test(name)) return true;
  const amplifier = Object.hasOwn(AMPLIFIERS, name) ? AMPLIFIERS[name] : undefined;
  if (amplifier === undefined) return false;
  // For each element of a list that may be long itself.
  if (isInLambda && amplifier.isSmall !== always) return true;
  return !amplifier.isSmall((call['children'] as readonly Node[] | undefined) ?? []);
}

/** Statements that put macros in the place of the functions, on one connection. */
export function guardedFunctionsSql(connection: number): string[] {
  return Object.entries(AMPLIFIERS).map(([name, amplifier]) => {
    const forms = amplifier.forms.map((parameters) => formSql(name, parameters, amplifier, connection));
    return `CREATE TEMP MACRO "${name}"${forms.join(', ')}`;
  });
}

function formSql(name: string, parameters: readonly string[], { bytes, steps }: Amplifier, connection: number): string {
  const taken = bytes?.((parameter) => parameters.includes(parameter)) ?? '0';
  const row = parameters.map((parameter) => `${parameter} := ${parameter}`).join(', ');
  const allowed = `${ALLOW}(${connection}, (${taken})::DOUBLE, (${steps ?? '0'})::DOUBLE) IS NOT FALSE`;
  const through = (value: string): string => `list_transform([struct_pack(${row})], lambda r : CASE WHEN ${allowed} THEN ${value} END)[1]`;
  // The engine wants options as they are written: only the text goes through the lambda.
  const isPlain = parameters.includes(OPTIONS);
  const args = parameters.map((parameter) => (isPlain ? parameter : `r.${parameter}`));
  const call = (values: readonly string[]): string => `system.main."${name}"(${values.join(', ')})`;
  return `(${parameters.join(', ')}) AS ${isPlain ? call([through('r.a'), ...args.slice(1)]) : through(call(args))}`;
}

function isEasyPattern(pattern: string | undefined): boolean {
  if (pattern === undefined) return false;
  const wildcards = pattern.match(/[%*?]/g)?.length ?? 0;
  return wildcards <= WILDCARDS_MAX || !/[_*?[]/.test(pattern);
}

/** @returns NaN for anything but a number that is written out: it is not small, then */
function numberOf(node: Node | undefined): number {
  const constant = constantOf(node);
  return typeof constant === 'number' ? constant : NaN;
}

function textOf(node: Node | undefined): string | undefined {
  const constant = constantOf(node);
  return typeof constant === 'string' ? constant : undefined;
}

function constantOf(node: Node | undefined): unknown {
  return node?.['class'] === 'CONSTANT' ? (node['value'] as Node)['value'] : undefined;
}
