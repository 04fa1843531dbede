/** Base85 as Delta uses it for deletion vectors: the Z85 alphabet (ZeroMQ RFC 32), four bytes to five characters, zero padded at the end. */
import { AppError } from '../common/app-error.js';

const ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#';
const VALUES = new Map([...ALPHABET].map((character, value) => [character, value]));

export function encodeBase85(bytes: Buffer): string {
  const padded = bytes.length % 4 === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(4 - (bytes.length % 4))]);
  let text = '';
  for (let at = 0; at < padded.length; at += 4) {
    let word = padded.readUInt32BE(at);
    let group = '';
    for (let digit = 0; digit < 5; digit += 1) {
      group = ALPHABET.charAt(word % 85) + group;
      word = Math.floor(word / 85);
    }
    text += group;
  }
  return text;
}

/** The bytes, with the padding that `encodeBase85` added. */
export function decodeBase85(text: string): Buffer {
  if (text.length % 5 !== 0) throw new AppError('DATA_CORRUPTION', 'a base85 text is cut short');
  const bytes = Buffer.alloc((text.length / 5) * 4);
  for (let at = 0; at < text.length; at += 5) {
    let word = 0;
    for (const character of text.slice(at, at + 5)) {
      const value = VALUES.get(character);
      if (value === undefined) throw new AppError('DATA_CORRUPTION', `"${character}" is not a base85 character`);
      word = word * 85 + value;
    }
    if (word > 0xffff_ffff) throw new AppError('DATA_CORRUPTION', 'a group of a base85 text is out of range');
    bytes.writeUInt32BE(word, (at / 5) * 4);
  }
  return bytes;
}
