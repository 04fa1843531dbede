/**
 * A document whose every byte is vouched for: `{"checksum":"sha256:<hex>","content":<JSON>}`, the checksum being that of the content's bytes as they
 * stand in the file. See docs/format/backups.md.
 */
import { createHash } from 'node:crypto';
import { AppError } from '../common/app-error.js';

const HEAD = /^\{"checksum":"sha256:([0-9a-f]{64})","content":/;

function checksumOf(content: string): string {
  return createHash('sha256').update(content).digest('hex');
}

export function seal(content: unknown): Buffer {
  const text = JSON.stringify(content);
  return Buffer.from(`{"checksum":"sha256:${checksumOf(text)}","content":${text}}`);
}

/** @throws AppError DATA_CORRUPTION when the document is cut, changed or none of ours; `validate: false` only asks that it can be read */
export function unseal<T>(bytes: Buffer, name: string, validate: boolean): T {
  const text = bytes.toString();
  const [head = '', checksum] = HEAD.exec(text) ?? [];
  if (validate && (checksum === undefined || checksumOf(text.slice(head.length, -1)) !== checksum)) throw damaged(name);
  try {
    return (JSON.parse(text) as { content: T }).content;
  } catch (error) {
    throw damaged(name, error);
  }
}

function damaged(name: string, cause?: unknown): AppError {
  return new AppError('DATA_CORRUPTION', `backup ${name} is damaged: its contents do not match its checksum; use another one`, { cause });
}
