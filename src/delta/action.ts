/**
 * The entries ("actions") of a Delta Lake transaction log, as this server writes and reads them.
 * Source: "Delta Transaction Log Protocol", section Actions (PROTOCOL.md of the delta-io project).
 */
export interface DeletionVectorDescriptor {
  /** `i`: the bytes stand in the descriptor; `u`: in a file of the table's directory, named by a uuid. */
  readonly storageType: 'i' | 'u';
  readonly pathOrInlineDv: string;
  readonly offset?: number;
  /** Bytes of the vector, before base85. */
  readonly sizeInBytes: number;
  /** Rows it hides. */
  readonly cardinality: number;
}

export interface AddAction {
  readonly path: string;
  readonly partitionValues: Readonly<Record<string, string>>;
  readonly size: number;
  readonly modificationTime: number;
  readonly dataChange: boolean;
  readonly stats?: string;
  readonly tags?: Readonly<Record<string, string>>;
  readonly deletionVector?: DeletionVectorDescriptor;
}

export interface RemoveAction {
  readonly path: string;
  readonly deletionTimestamp: number;
  readonly dataChange: boolean;
  readonly extendedFileMetadata: true;
  readonly partitionValues: Readonly<Record<string, string>>;
  readonly size: number;
  readonly tags?: Readonly<Record<string, string>>;
  readonly deletionVector?: DeletionVectorDescriptor;
}

export interface MetaDataAction {
  readonly id: string;
  readonly name: string;
  readonly format: { readonly provider: 'parquet'; readonly options: Readonly<Record<string, string>> };
  readonly schemaString: string;
  readonly partitionColumns: readonly string[];
  readonly configuration: Readonly<Record<string, string>>;
  readonly createdTime: number;
}

export interface ProtocolAction {
  readonly minReaderVersion: number;
  readonly minWriterVersion: number;
  readonly readerFeatures?: readonly string[];
  readonly writerFeatures?: readonly string[];
}

/** How far an application's writes are in the table: for us, the last LSN of a WAL that the version holds. */
interface TransactionAction {
  readonly appId: string;
  readonly version: number;
  readonly lastUpdated: number;
}

export interface CommitInfoAction {
  readonly inCommitTimestamp: number;
  readonly timestamp: number;
  readonly operation: string;
  readonly operationParameters: Readonly<Record<string, string>>;
  readonly engineInfo: string;
  /** Tells our own commit from another's after a PUT of unknown outcome. */
  readonly txnId: string;
}

export type Action =
  | { readonly commitInfo: CommitInfoAction }
  | { readonly protocol: ProtocolAction }
  | { readonly metaData: MetaDataAction }
  | { readonly txn: TransactionAction }
  | { readonly add: AddAction }
  | { readonly remove: RemoveAction };

/** One JSON object a line. */
export function encodeActions(actions: readonly Action[]): Buffer {
  return Buffer.from(actions.map((action) => `${JSON.stringify(action)}\n`).join(''));
}

/** Reads a commit; kinds of actions we do not know are passed over, as the protocol demands. */
export function decodeActions(bytes: Buffer): Action[] {
  return bytes
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Action);
}
