/**
 * Every setting of the server, with its default, its unit and what is allowed. A key that is not here is refused at the start, so nothing in
 * a configuration file is ever silently without effect. The file uses the names below (snake_case, unit last).
 */
import { Type } from 'class-transformer';
import {
  IsArray,
  IsBoolean,
  IsIn,
  IsInt,
  IsNumber,
  IsString,
  Matches,
  Max,
  MaxLength,
  Min,
  MinLength,
  ValidateNested,
} from 'class-validator';

const KIB = 1_024;
const MIB = 1_024 * KIB;
const GIB = 1_024 * MIB;
const BUCKET_NAME = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;

export class ServerConfig {
  /** Address to listen on. Anything but loopback needs authentication (section `auth`), or `allow_unauthenticated_remote`. */
  @IsString() host: string = '127.0.0.1';
  /** 0 takes a free port. */
  @IsInt() @Min(0) @Max(65_535) rest_port: number = 8081;
  @IsInt() @Min(0) @Max(65_535) grpc_port: number = 8080;
  /** Connections to each door at once; further ones are closed as they come. Fewer where the limit of open files (`ulimit -n`) is low. */
  @IsInt() @Min(1) @Max(1_000_000) connections_max: number = 10_000;
  /** A request whose body brings less than 32 bytes a second over so long a time is cut off. */
  @IsInt() @Min(1) @Max(3_600) body_idle_seconds: number = 30;
  /** How long a stop may take before what still runs is cut. */
  @IsInt() @Min(1) @Max(600) shutdown_seconds: number = 9;
  @IsBoolean() allow_unauthenticated_remote: boolean = false;
  /** Origins of web pages that may use REST (`https://app.example.com`); `*` for all. None: only pages of this server. */
  @IsArray()
  @Matches(/^(\*|https?:\/\/[^/]+)$/, { each: true, message: 'must be * or origins such as https://app.example.com' })
  cors_origins: string[] = [];
  /** gRPC reflection and gRPC health: `open` to everybody, or `guarded`, for callers with credentials. */
  @IsIn(['open', 'guarded']) grpc_services: 'open' | 'guarded' = 'open';
}

/** TLS of both doors, REST and gRPC. The files are PEM; they are read at the start. */
export class TlsConfig {
  /** The server's certificate, and those up to its authority. Empty: no TLS. */
  @IsString() cert_file: string = '';
  @IsString() key_file: string = '';
  /** Authorities of clients' certificates: with them, only clients that show one are let in (mTLS). */
  @IsString() client_ca_file: string = '';
}

/** Past these the caller gets 429 with Retry-After. */
export class RateLimitsConfig {
  /** Queries of one API key, or of one address where there is no authentication. 0: as many as there is room for. */
  @IsInt() @Min(0) @Max(100_000_000) queries_per_minute: number = 0;
  /** Logins and refreshed tokens of one address. 0: as many as may be. */
  @IsInt() @Min(0) @Max(100_000_000) logins_per_minute: number = 120;
}

/** Who may use the server. See docs/security.md. */
export class AuthConfig {
  /** `disabled`: everybody may do everything. `api_key`: an API key with its secret, or a token. `jwt`: tokens only. */
  @IsIn(['disabled', 'api_key', 'jwt']) mode: 'disabled' | 'api_key' | 'jwt' = 'disabled';
  /** API key of an administrator, who makes the other keys. */
  @Matches(/^[A-Za-z0-9_-]{1,64}$/) admin_key: string = 'admin';
  /** Its secret; at least 16 characters. */
  @IsString() @MaxLength(4_096) admin_secret: string = '';
  /** Signs tokens; at least 32 characters. Empty: a key that the server makes and keeps in the object store, the same for all nodes. */
  @IsString() jwt_secret: string = '';
  /** Signing keys by name, for exchanging them: ID:SECRET each. The first one signs, all of them are taken. Instead of `jwt_secret`. */
  @IsArray()
  @Matches(/^[A-Za-z0-9_-]{1,64}:.{32,}$/, {
    each: true,
    message: 'must be ID:SECRET with at least 32 characters of secret, or a list of them',
  })
  jwt_keys: string[] = [];
  @IsString() @MinLength(1) issuer: string = 'miniodb';
  @IsString() @MinLength(1) audience: string = 'miniodb';
  @IsInt() @Min(1) @Max(86_400) access_token_seconds: number = 3_600;
  @IsInt() @Min(1) @Max(31_536_000) refresh_token_seconds: number = 604_800;
  /** Wrong secrets in a row after which further wrong ones of the key or the address are refused with 429; right ones always pass. */
  @IsInt() @Min(1) @Max(1_000_000) failures_max: number = 10;
  @IsInt() @Min(1) @Max(86_400) lock_seconds: number = 300;
  /** GET /metrics asks nobody who they are. */
  @IsBoolean() open_metrics: boolean = true;
}

export class LogConfig {
  @IsIn(['trace', 'debug', 'info', 'warn', 'error', 'fatal']) level: string = 'info';
  /** JSON lines; relative to the working directory. Empty: no file. */
  @IsString() file: string = 'logs/miniodb.log';
  /** Past it the file becomes FILE.1, and so on. */
  @IsInt() @Min(64 * KIB) @Max(16 * GIB) file_bytes_max: number = 64 * MIB;
  /** Full files that are kept. */
  @IsInt() @Min(1) @Max(1_000) files_kept: number = 5;
  /** Queries that take longer are logged as "slow query". */
  @IsInt() @Min(0) slow_query_ms: number = 1_000;
}

/** Who asked for what, and what came of it. See docs/security.md. */
export class AuditConfig {
  /** `auto`: where there is authentication. */
  @IsIn(['auto', 'on', 'off']) mode: 'auto' | 'on' | 'off' = 'auto';
  /** JSON lines; relative to the working directory. */
  @IsString() @Matches(/\S/) file: string = 'logs/audit.log';
  @IsInt() @Min(64 * KIB) @Max(16 * GIB) file_bytes_max: number = 256 * MIB;
  @IsInt() @Min(1) @Max(1_000) files_kept: number = 10;
}

/** Spans for OpenTelemetry. See docs/monitoring.md. */
export class TracingConfig {
  /** Where a collector takes OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces. Empty: no traces. */
  @IsString()
  @Matches(/^(https?:\/\/\S+)?$/, { message: 'must be a URL such as http://127.0.0.1:4318/v1/traces, or empty' })
  endpoint: string = '';
  /** Share of requests that are traced, 0 to 1, unless their caller has decided. */
  @IsNumber() @Min(0) @Max(1) sampled_share: number = 1;
  @IsString() @Matches(/\S/) service_name: string = 'miniodb';
}

export class LimitsConfig {
  /** A JSON body (not a bulk stream). */
  @IsInt() @Min(KIB) @Max(256 * MIB) body_bytes_max: number = 16 * MIB;
  /** A bulk body, spooled to disk while it comes in. */
  @IsInt() @Min(MIB) bulk_bytes_max: number = 16 * GIB;
  @IsInt() @Min(2) @Max(512) json_depth_max: number = 64;
  /** Records in one batch request or gRPC message. */
  @IsInt() @Min(1) @Max(1_000_000) batch_records_max: number = 100_000;
  /** Columns of one table. Each costs about 20 microseconds per group of writes. */
  @IsInt() @Min(3) @Max(10_000) columns_max: number = 1_000;
  @IsInt() @Min(1) @Max(100_000) tables_max: number = 1_000;
  /** Ids in one DELETE or restore. */
  @IsInt() @Min(1) @Max(1_000_000) ids_max: number = 10_000;
  /** Idempotency keys remembered; the oldest are forgotten first. */
  @IsInt() @Min(1) @Max(10_000_000) idempotency_keys_max: number = 100_000;
  @IsInt() @Min(1) @Max(8_760) idempotency_hours: number = 24;
}

export class WalConfig {
  /** A segment is closed at this size; trimming works by whole segments. */
  @IsInt() @Min(64 * KIB) @Max(GIB) segment_bytes: number = 64 * MIB;
  /** Acknowledged bytes that are not in the object store yet; past it writes get 429. */
  @IsInt() @Min(MIB) bytes_max: number = 4 * GIB;
  /** Requests that wait for the same fsync, together at most this many bytes. */
  @IsInt() @Min(64 * KIB) @Max(GIB) group_bytes_max: number = 8 * MIB;
  /** Requests that wait for their group; past it writes get 429. */
  @IsInt() @Min(64 * KIB) @Max(4 * GIB) queue_bytes_max: number = 64 * MIB;
}

export class BufferConfig {
  /** Rows in memory that are not in data files yet, all tables together; past it writes get 429. 0: half of the engine's memory, at most 512 MiB. */
  @IsInt() @Min(0) bytes_max: number = 0;
}

export class TablesConfig {
  /** A write to a table that does not exist creates it. */
  @IsBoolean() auto_create: boolean = true;
  /** Default of a table's `buffer_size`: rows that start a flush. */
  @IsInt() @Min(1) @Max(100_000_000) buffer_size: number = 100_000;
  /** Default of a table's `flush_interval_seconds`: the age of the oldest buffered row that starts a flush. */
  @IsInt() @Min(1) @Max(86_400) flush_interval_seconds: number = 60;
}

export class QueryConfig {
  /** Queries that run at once; each holds one thread of Node's pool. 0: four a core, and no more than have 128 MiB of the engine's memory each. */
  @IsInt() @Min(0) @Max(64) concurrency_max: number = 0;
  @IsInt() @Min(0) @Max(100_000) queue_max: number = 256;
  /** How long a query may wait for its turn before it gets 429. */
  @IsInt() @Min(1) @Max(600_000) queue_wait_ms: number = 10_000;
  @IsInt() @Min(1) @Max(86_400_000) timeout_ms: number = 30_000;
  @IsInt() @Min(1) @Max(86_400_000) timeout_ms_max: number = 600_000;
  @IsInt() @Min(1) @Max(10_000) page_rows: number = 1_000;
  @IsInt() @Min(1) @Max(10_000) page_rows_max: number = 10_000;
  @IsInt() @Min(1) @Max(86_400) cursor_ttl_seconds: number = 600;
  /** Results kept open for their next page; the one used longest ago gives way. */
  @IsInt() @Min(1) @Max(10_000) cursors_max: number = 64;
  /** Rows of a result that is kept whole for paging (sorted, grouped or joined results). */
  @IsInt() @Min(1) @Max(1_000_000_000) kept_rows_max: number = 2_000_000;
  @IsInt() @Min(1) @Max(10_000_000) sql_bytes_max: number = 1_000_000;
  /** Answers kept for the same statement over unchanged tables, all together. 0: none. */
  @IsInt() @Min(0) @Max(64 * 1_024 * MIB) result_cache_bytes_max: number = 64 * MIB;
  /** Memory of the SQL engine, buffers included; past it the engine spills to disk. 0: a quarter of what the machine or the container has, at most 4 GiB. */
  @IsInt() @Min(0) memory_bytes_max: number = 0;
  /**
   * Memory of the whole process past which queries are refused or stopped: the engine does not count the values of rows and all that functions make.
   * 0: what the engine and the buffers may have and 1 GiB besides, at most 4/5 of what the machine or the container has.
   */
  @IsInt() @Min(0) process_bytes_max: number = 0;
  /** Bytes that the SQL engine spills to disk, all queries together; a query past it fails. 0: half of the disk that is free at the start and not the log's (wal.bytes_max). */
  @IsInt() @Min(0) spill_bytes_max: number = 0;
  /** Memory for rows of small files that queries read again and again, all tables together, at most a quarter of the engine's. 0: none. */
  @IsInt() @Min(0) @Max(64 * 1_024 * MIB) small_files_bytes_max: number = 256 * MIB;
  /** Threads of the SQL engine. 0: one per core. */
  @IsInt() @Min(0) @Max(256) threads: number = 0;
}

export class MaintenanceConfig {
  /** How often tables are looked at for compaction, retention and vacuum. */
  @IsNumber() @Min(0.1) @Max(86_400) interval_seconds: number = 30;
  @IsBoolean() compaction: boolean = true;
  /** A data file this large is left alone. */
  @IsInt() @Min(64 * KIB) target_file_bytes: number = 128 * MIB;
  /** Files in one group before they are worth merging. */
  @IsInt() @Min(2) @Max(10_000) compaction_files_min: number = 8;
  /** Share of a file's rows that may be deleted before it is rewritten. */
  @IsNumber() @Min(0) @Max(1) deleted_share_max: number = 0.1;
  @IsInt() @Min(1) @Max(10_000) checkpoint_commits: number = 50;
  /** How far back `as_of` reaches, and how long replaced files stay. */
  @IsNumber() @Min(0) @Max(87_600) time_travel_hours: number = 168;
  /** Objects that no version names, and commits that a checkpoint has, are removed once they are this old; must exceed the longest flush or compaction. */
  @IsNumber() @Min(0) @Max(87_600) orphan_age_hours: number = 24;
}

export class StorageConfig {
  /** `local`: files below `data_dir`. `minio`: a bucket of any S3-compatible store, see the section `minio`. */
  @IsIn(['local', 'minio']) kind: 'local' | 'minio' = 'local';
}

/** What every bucket of an S3-compatible store needs. */
class BucketConfig {
  @IsString() access_key: string = '';
  @IsString() secret_key: string = '';
  @IsBoolean() use_ssl: boolean = false;
  @IsString() region: string = 'us-east-1';
  /** Connections to the store, each for one request at a time. */
  @IsInt() @Min(1) @Max(1_024) connections_max: number = 64;
  /** A request on whose connection nothing moves for so long is cut and tried again. */
  @IsInt() @Min(100) @Max(600_000) idle_timeout_ms: number = 5_000;
  /** No further attempt of an operation begins later than this after its first. */
  @IsInt() @Min(100) @Max(600_000) deadline_ms: number = 15_000;
  /**
   * How an object is made only once. `auto`: by the store (If-None-Match), and where a test before the first use shows that it cannot, by looking
   * first, under a lock: safe while all writers share Redis, or while there is one writer. `check`: always by looking first.
   */
  @IsIn(['auto', 'check']) put_if_absent: 'auto' | 'check' = 'auto';
}

/** The bucket with the tables. */
export class MinioConfig extends BucketConfig {
  /** Host and port, without a scheme. */
  @IsString() @Matches(/^[A-Za-z0-9.-]+(:\d{1,5})?$/, { message: 'must be HOST or HOST:PORT, without a scheme' }) endpoint: string =
    '127.0.0.1:9000';
  @IsString() @Matches(BUCKET_NAME, { message: 'must be the name of a bucket' }) bucket: string = 'olap-data';
  /** How long a start waits for a store that does not answer. */
  @IsInt() @Min(0) @Max(86_400) start_wait_seconds: number = 30;
}

/** A bucket for backups, on another store than the tables. Without it backups stand in the store of the tables, below `backups/`. */
export class MinioBackupConfig extends BucketConfig {
  /** Host and port, without a scheme; empty: no such bucket. */
  @IsString()
  @Matches(/^([A-Za-z0-9.-]+(:\d{1,5})?)?$/, { message: 'must be HOST or HOST:PORT, without a scheme, or empty' })
  endpoint: string = '';
  @IsString() @Matches(BUCKET_NAME, { message: 'must be the name of a bucket' }) bucket: string = 'olap-backup';
}

export class BackupConfig {
  /** How often the metadata of all tables is saved by itself; 0: only when asked for. */
  @IsInt() @Min(0) @Max(525_600) metadata_interval_minutes: number = 60;
  /** Metadata backups are removed once they are this old; the newest one stays. */
  @IsInt() @Min(1) @Max(36_500) metadata_keep_days: number = 30;
  /** Keep the bucket of `minio_backup` a copy of all tables. Without such a bucket there is none. */
  @IsBoolean() replication: boolean = true;
  /** Tables whose restore runs at once. */
  @IsInt() @Min(1) @Max(64) parallel_max: number = 4;
}

export class RedisConfig {
  /** `none`: one node, which needs no Redis. Otherwise several nodes may share a bucket and meet in Redis. */
  @IsIn(['none', 'standalone', 'sentinel', 'cluster']) mode: 'none' | 'standalone' | 'sentinel' | 'cluster' = 'none';
  /** With mode `standalone`. */
  @IsString() host: string = '127.0.0.1';
  @IsInt() @Min(1) @Max(65_535) port: number = 6379;
  /** Sentinels, or nodes of the cluster: HOST:PORT each. */
  @IsArray() @Matches(/^[^\s:]+:\d{1,5}$/, { each: true, message: 'must be HOST:PORT, or a list of them' }) nodes: string[] = [];
  /** Name under which the sentinels know the master. */
  @IsString() sentinel_name: string = 'mymaster';
  @IsString() sentinel_password: string = '';
  @IsString() username: string = '';
  @IsString() password: string = '';
  /** Not with mode `cluster`. */
  @IsInt() @Min(0) @Max(1_024) db: number = 0;
  /** How often a node says that it lives; it counts as gone after twice this. */
  @IsInt() @Min(1) @Max(600) heartbeat_seconds: number = 30;
  /** How often a node looks into the logs for commits it was not told of. */
  @IsInt() @Min(1) @Max(600) poll_seconds: number = 5;
}

export class CacheConfig {
  /** Data files of the object store kept on the local disk; queries read them there. Only with storage `minio`. */
  @IsInt() @Min(MIB) bytes_max: number = 10 * GIB;
}

export class Config {
  @ValidateNested() @Type(() => ServerConfig) server: ServerConfig = new ServerConfig();
  /** WAL, local objects, cache, temporary files. */
  @IsString() @Matches(/\S/) data_dir: string = './data';
  /** Names this node in answers and logs. */
  @IsString() @Matches(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/) node_id: string = 'node-1';
  @ValidateNested() @Type(() => StorageConfig) storage: StorageConfig = new StorageConfig();
  @ValidateNested() @Type(() => MinioConfig) minio: MinioConfig = new MinioConfig();
  @ValidateNested() @Type(() => MinioBackupConfig) minio_backup: MinioBackupConfig = new MinioBackupConfig();
  @ValidateNested() @Type(() => BackupConfig) backup: BackupConfig = new BackupConfig();
  @ValidateNested() @Type(() => RedisConfig) redis: RedisConfig = new RedisConfig();
  @ValidateNested() @Type(() => CacheConfig) cache: CacheConfig = new CacheConfig();
  @ValidateNested() @Type(() => TlsConfig) tls: TlsConfig = new TlsConfig();
  @ValidateNested() @Type(() => AuthConfig) auth: AuthConfig = new AuthConfig();
  @ValidateNested() @Type(() => RateLimitsConfig) rate_limits: RateLimitsConfig = new RateLimitsConfig();
  @ValidateNested() @Type(() => LogConfig) log: LogConfig = new LogConfig();
  @ValidateNested() @Type(() => AuditConfig) audit: AuditConfig = new AuditConfig();
  @ValidateNested() @Type(() => TracingConfig) tracing: TracingConfig = new TracingConfig();
  @ValidateNested() @Type(() => LimitsConfig) limits: LimitsConfig = new LimitsConfig();
  @ValidateNested() @Type(() => WalConfig) wal: WalConfig = new WalConfig();
  @ValidateNested() @Type(() => BufferConfig) buffer: BufferConfig = new BufferConfig();
  @ValidateNested() @Type(() => TablesConfig) tables: TablesConfig = new TablesConfig();
  @ValidateNested() @Type(() => QueryConfig) query: QueryConfig = new QueryConfig();
  @ValidateNested() @Type(() => MaintenanceConfig) maintenance: MaintenanceConfig = new MaintenanceConfig();
}
