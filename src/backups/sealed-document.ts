/**
 * A document whose every byte is vouched for: `{"checksum":"sha256:<hex>","content":<JSON>}`, the checksum being that of the content's bytes as they
 * stand in the file. See docs/format/backups.md.
 */
import { createHash } from 'node:crypto';
import { AppError } from '../common/app-error.js';
import { isJsonObject } from '../common/json.js';

const HEAD = /^\{"checksum":"sha256:([0-9a-f]{64})","content":/;

function checksumOf(content: string): string {
  return createHash('sha256').update(content).digest('hex');
}

export function seal(content: unknown): Buffer {
  const text = JSON.stringify(content);
  return Buffer.from(`{"checksum":"sha256:${checksumOf(text)}","content":${text}}`);
}

/**
 * @param hasShape what the content must have; asked also without `validate`
 * @throws AppError DATA_CORRUPTION when the document is cut, changed or none of ours
 */
export function unseal<T>(bytes: Buffer, name: string, validate: boolean, hasShape: (content: Record<string, unknown>) => boolean): T {
  const text = bytes.toString();
  const [head = '', checksum] = HEAD.exec(text) ?? [];
  if (validate && (checksum === undefined || checksumOf(text.slice(head.length, -1)) !== checksum)) throw damaged(name);
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw damaged(name, error);
  }
  const content = isJsonObject(document) ? document['content'] : undefined;
  if (!isJsonObject(content) || !hasShape(content)) throw damaged(name);
  return content as T;
}

function damaged(name: string, cause?: unknown): AppError {
  return new AppError('DATA_CORRUPTION', `backup ${name} is damaged: its contents do not match its checksum; use another one`, { cause });
}
