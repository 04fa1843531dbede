/** Tokens under which the ports of the server are injected: interfaces leave nothing at run time by which they could be asked for. */
export const CLOCK = Symbol('Clock');
export const LOGGER = Symbol('Logger');
export const OBJECT_STORE = Symbol('ObjectStore');
export const LEASE_STORE = Symbol('LeaseStore');
export const COMMIT_NOTIFIER = Symbol('CommitNotifier');
export const DATA_PATHS = Symbol('DataPaths');
/** A `RedisConnection`, or undefined when the configuration names no Redis. */
export const REDIS = Symbol('Redis');
