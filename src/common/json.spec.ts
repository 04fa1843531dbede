import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { expectThat } from '../../test/support/expectations.js';
import { assertTextDepth, isJsonObject, jsonFault, LosslessNumber, parseJson, stringifyJson } from './json.js';

if (process.env['SEED']) fc.configureGlobal({ seed: Number(process.env['SEED']) });

/** Texts of numbers as JSON allows them, of every form and length. */
const numberTexts = fc
  .record({
    sign: fc.constantFrom('', '-'),
    whole: fc.oneof(fc.constant('0'), fc.nat().map(String), fc.bigInt({ min: 1n, max: 10n ** 40n }).map(String)),
    fraction: fc.oneof(fc.constant(''), fc.constantFrom('.0', '.00', '.5', '.10'), fc.stringMatching(/^\.[0-9]{1,25}$/)),
    exponent: fc.oneof({ weight: 3, arbitrary: fc.constant('') }, { weight: 1, arbitrary: fc.stringMatching(/^[eE][+-]?[0-9]{1,3}$/) }),
  })
  .map(({ sign, whole, fraction, exponent }) => sign + whole + fraction + exponent);

const spaces = fc.stringMatching(/^[ \n\r\t]{0,2}$/);
/** A member of a document: the JSON text of a string or of a number. */
const scalarTexts = fc.oneof(
  numberTexts,
  fc.string({ unit: 'grapheme' }).map((text) => JSON.stringify(text)),
  // A number inside of a string must stay what it is.
  numberTexts.map((text) => JSON.stringify(`[${text}, ${text}]`)),
  fc.constantFrom('true', 'false', 'null'),
);
const { document: documentTexts } = fc.letrec<{ document: string; value: string }>((tie) => ({
  value: fc.oneof({ maxDepth: 3 }, scalarTexts, tie('document')),
  document: fc.oneof(
    fc
      .tuple(spaces, fc.array(tie('value'), { maxLength: 4 }))
      .map(([space, values]) => `${space}[${space}${values.join(`${space},${space}`)}${space}]${space}`),
    fc
      .tuple(spaces, fc.uniqueArray(fc.tuple(fc.string(), tie('value')), { maxLength: 4, selector: ([key]) => key }))
      .map(
        ([space, members]) =>
          `${space}{${space}${members.map(([key, value]) => `${JSON.stringify(key)}${space}:${space}${value}`).join(`${space},`)}${space}}${space}`,
      ),
  ),
}));

/** A value with every scalar in it replaced. */
function withScalars(value: unknown, replace: (scalar: unknown) => unknown): unknown {
  if (Array.isArray(value)) return value.map((member) => withScalars(member, replace));
  if (!isJsonObject(value)) return replace(value);
  const members = Object.entries(value).map(([key, member]): [string, unknown] => [key, withScalars(member, replace)]);
  return Object.fromEntries(members);
}

/** What JSON.parse would have given. */
function rounded(value: unknown): unknown {
  return withScalars(value, (scalar) => (scalar instanceof LosslessNumber ? Number(scalar.value) : scalar));
}

/** A number's value as mantissa and power of ten, without any rounding. */
function exactly(text: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(text) ?? [];
  const digits = (whole + fraction).replace(/^0+/, '');
  const significant = digits.replace(/0+$/, '');
  if (significant === '') return '0';
  return `${sign}${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`;
}

describe('parsing JSON', () => {
  it('gives the values that JSON.parse gives, once its numbers are rounded', () => {
    fc.assert(
      fc.property(documentTexts, (text) => {
        expect(rounded(parseJson(text, 'the text'))).toEqual(JSON.parse(text));
      }),
      { numRuns: 400 },
    );
  });

  it('keeps the digits of every number', () => {
    fc.assert(
      fc.property(numberTexts, spaces, (text, space) => {
        for (const document of [`[${space}${text}]`, `[0,${space}${text}${space}]`, `{"a":${space}${text}${space}}`]) {
          const value = Object.values(parseJson(document, 'the text') as object).at(-1) as unknown;
          if (value instanceof LosslessNumber) expect(value.value).toBe(text);
          else expect(exactly(String(value))).toBe(exactly(text));
        }
      }),
      { numRuns: 400 },
    );
  });

  it('tells 10.0 and 1e1 from 10', () => {
    expect(parseJson('[10, 10.0, 1e1, -10.0, 10.5]', 'it')).toEqual([
      10,
      new LosslessNumber('10.0'),
      new LosslessNumber('1e1'),
      new LosslessNumber('-10.0'),
      10.5,
    ]);
  });

  it('keeps a number that is the whole text', () => {
    expect(parseJson('12345678901234567890', 'it')).toEqual(new LosslessNumber('12345678901234567890'));
  });

  it('takes no number for one that stands in a string', () => {
    expect(parseJson('{"a":"x: 12345678901234567890, 10.0"}', 'it')).toEqual({ a: 'x: 12345678901234567890, 10.0' });
  });

  it('refuses what JSON.parse refuses, whether there is a long number in it or not', () => {
    const broken = [
      '',
      '{',
      '[1,]',
      '{"a":1,}',
      "{'a':1}",
      '[01]',
      '[1.]',
      '[.5]',
      '[+1]',
      '[-]',
      '[1e]',
      '["\n"]',
      '["\\x"]',
      '[NaN]',
      '[1]x',
      '{"a" 1}',
      '[1 2]',
      '\ufeff[1]',
      '["\t"]',
      '["\\u12"]',
      '[tru]',
      '[1]\u00a0',
    ];
    for (const text of broken) {
      expectThat(() => JSON.parse(text) as unknown, text).toThrow();
      expectThat(() => parseJson(text, 'line 7'), text).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(/^line 7 is not valid JSON: /) }),
      );
      const withLong =
        text.replace(/^(\ufeff?)([[{])/, '$1[12345678901234567890,$2') + (/^\ufeff?[[{]/.test(text) ? ']' : '12345678901234567890x');
      expectThat(() => JSON.parse(withLong) as unknown, withLong).toThrow();
      expectThat(() => parseJson(withLong, 'line 7'), withLong).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    }
  });

  it('refuses changed documents exactly when JSON.parse does', () => {
    const changed = fc
      .tuple(documentTexts, fc.nat(), fc.constantFrom('', '"', ',', ']', '}', '\\', '1', '.', 'e', '-', '\u0000', '10.0'))
      .map(([text, place, insert]) => {
        const at = place % (text.length + 1);
        return text.slice(0, at) + insert + text.slice(at + 1);
      });
    fc.assert(
      fc.property(changed, (text) => {
        expectThat(
          isAccepted(() => parseJson(text, 'it')),
          text,
        ).toBe(isAccepted(() => JSON.parse(text) as unknown));
      }),
      { numRuns: 400 },
    );
  });

  it('takes the last of equal names, whether there is a long number beside them or not', () => {
    expect(parseJson('{"a":1,"a":2}', 'it')).toEqual({ a: 2 });
    expect(parseJson('{"a":1,"a":2,"n":12345678901234567890}', 'it')).toMatchObject({ a: 2 });
  });

  it('takes __proto__ for a name like any other', () => {
    for (const text of ['{"__proto__":{"x":1}}', '{"__proto__":{"x":1},"n":12345678901234567890}']) {
      const value = parseJson(text, 'it') as object;
      expect(Object.keys(value)).toContain('__proto__');
      expect('x' in value).toBe(false);
    }
  });

  it('refuses a text nested beyond reason instead of failing on it', () => {
    const deep = `${'['.repeat(200_000)}10.0${']'.repeat(200_000)}`;
    expect(isAccepted(() => parseJson(deep, 'it'))).toBe(false);
  });
});

/** Anything but INVALID_ARGUMENT from us, or SyntaxError from JSON.parse, is a failure of the test. */
function isAccepted(parse: () => unknown): boolean {
  try {
    parse();
    return true;
  } catch (error) {
    expectThat(error instanceof SyntaxError || (error as { code?: string }).code === 'INVALID_ARGUMENT', String(error)).toBe(true);
    return false;
  }
}

describe('JSON text of a parsed value', () => {
  it('parses to the same value again, digits included', () => {
    fc.assert(
      fc.property(documentTexts, (text) => {
        const value = parseJson(text, 'it');
        // JSON.stringify, too, writes -0 as 0.
        expect(parseJson(stringifyJson(value), 'it')).toEqual(withScalars(value, (scalar) => (scalar === 0 ? 0 : scalar)));
      }),
    );
  });
});

describe('JSON object', () => {
  it('is neither an array, nor null, nor a number kept as text', () => {
    expect([{}, { a: 1 }].every(isJsonObject)).toBe(true);
    expect([[], null, undefined, 1, 'a', new LosslessNumber('1.0')].some(isJsonObject)).toBe(false);
  });
});

describe('depth of a JSON text', () => {
  /** Arrays and objects inside of each other. */
  function depthOf(value: unknown): number {
    return typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0;
  }

  it('is that of the value in it, whatever its strings hold', () => {
    const brackets = fc.string({ unit: fc.constantFrom('[', ']', '{', '}', '"', '\\', 'a') });
    const values = fc.oneof(fc.jsonValue({ maxDepth: 6 }), fc.array(fc.dictionary(brackets, fc.array(brackets))));
    fc.assert(
      fc.property(values, fc.integer({ min: 0, max: 8 }), (value, depthMax) => {
        const check = (): void => assertTextDepth(JSON.stringify(value, undefined, depthMax % 2), depthMax, 'it');
        if (depthOf(value) <= depthMax) expect(check).not.toThrow();
        else expect(check).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
      }),
    );
  });

  it('can be told of text that is no JSON', () => {
    for (const text of ['"', '"\\', ']]]]', '[[["', '']) expectThat(() => assertTextDepth(text, 3, 'it'), text).not.toThrow();
    expect(() => assertTextDepth('['.repeat(1_000_000), 64, 'the request body')).toThrow(
      /^the request body is nested too deeply: at most 64 levels/,
    );
  });
});

describe('value that JSON cannot hold', () => {
  it('is one that is nested too deeply, counted in arrays and objects', () => {
    expect(jsonFault([{ a: [1] }], 3)).toBeUndefined();
    expect(jsonFault([{ a: [1] }], 2)).toContain('nested too deeply');
    expect(jsonFault([new LosslessNumber('1.0'), null, 'x', true], 1)).toBeUndefined();
    expect(jsonFault(1, 0)).toBeUndefined();
  });

  it.each([['\ud800'], [['a', '\udc00']], [{ '\ud800': 1 }], [Number.NaN], [{ a: [Number.POSITIVE_INFINITY] }]])(
    'is one without a word in it: case %#',
    (value) => {
      expect(jsonFault(value, 5)).toMatch(/half a surrogate pair|JSON has no word for/);
    },
  );
});
