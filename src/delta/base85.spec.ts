import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { decodeBase85, encodeBase85 } from './base85.js';

if (process.env['SEED']) fc.configureGlobal({ seed: Number(process.env['SEED']) });

const dataCorruption = expect.objectContaining({ code: 'DATA_CORRUPTION' });

describe('base85', () => {
  it('gives the text of the example in ZeroMQ RFC 32, and its bytes back', () => {
    const bytes = Buffer.from('864fd26fb559f75b', 'hex');
    expect(encodeBase85(bytes)).toBe('HelloWorld');
    expect(decodeBase85('HelloWorld')).toEqual(bytes);
  });

  it('reads the uuid of the example in the Delta protocol', () => {
    expect(decodeBase85('^-aqEH.-t@S}K{vb[*k^').toString('hex')).toBe('d2c639aa8816431aaaf6d3fe2512ff61');
  });

  it('gives back any bytes, padded with zeros to whole words', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), (array) => {
        const bytes = Buffer.from(array);
        const padding = Buffer.alloc((4 - (bytes.length % 4)) % 4);
        expect(decodeBase85(encodeBase85(bytes))).toEqual(Buffer.concat([bytes, padding]));
      }),
    );
  });

  it('takes no text for no bytes', () => {
    expect(encodeBase85(Buffer.alloc(0))).toBe('');
    expect(decodeBase85('')).toHaveLength(0);
  });

  it.each(['Hello World', 'Hell"', 'Hellö', 'Hel\u{1F600}o'])('refuses a character outside of the alphabet in %j', (text) => {
    expect(() => decodeBase85(text.padEnd(20, '0'))).toThrow(dataCorruption);
  });

  it.each(['H', 'HelloW', 'HelloWorl'])('refuses %j, which is cut inside a group of five', (text) => {
    expect(() => decodeBase85(text)).toThrow(dataCorruption);
  });

  it('refuses a group that stands for more than 32 bits', () => {
    expect(decodeBase85('%nSc0')).toEqual(Buffer.from('ffffffff', 'hex'));
    expect(() => decodeBase85('%nSc1')).toThrow(dataCorruption);
    expect(() => decodeBase85('#####')).toThrow(dataCorruption);
  });
});
