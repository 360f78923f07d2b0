/** Configuration files of the three roles: validated against their published schemas, defaults filled in, paths resolved. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Ajv, type ValidateFunction } from 'ajv';
import addFormats from 'ajv-formats';
import { SetupError } from '../crypto/errors.js';
import type { SuiteName } from '../crypto/suite.js';
import { applyEnvironment } from './config-environment.js';
import { isUrl } from './database-url.js';
import type { IssuerConfig } from './auth/issuers.js';
import { readText } from './identity-files.js';
import type { SourceConfig } from './sources/open-source.js';

/** A port for health and metrics. */
export interface OperationsConfig {
  readonly address: string;
  readonly port: number;
  readonly leaveMs: number;
}

interface CommonConfig {
  readonly suite: SuiteName;
  readonly root: string;
  readonly operations?: OperationsConfig;
  readonly discovery: { readonly mdns: boolean };
}

interface ServerFiles {
  readonly id: string;
  readonly dataDir: string;
  readonly certificate: string;
  readonly key: string;
}

export interface BackendConfig extends CommonConfig, ServerFiles {
  readonly listen: {
    readonly address: string;
    readonly port: number;
    readonly tls?: { readonly certificate?: string; readonly key?: string };
    readonly dangerouslyServePlainHttp: boolean;
  };
  readonly audience: string;
  readonly database?: string;
  readonly publicOrigin?: string;
  readonly retention: { readonly readingsDays?: number; readonly auditDays?: number };
  readonly cors: { readonly origins?: readonly string[] };
  readonly directory: {
    readonly open?: boolean;
    readonly coap?: { readonly address: string; readonly port: number; readonly openRegistration: boolean };
  };
  readonly issuers: readonly IssuerConfig[];
  readonly issuer: { readonly embedded: boolean };
}

export interface GatewayConfig extends CommonConfig, ServerFiles {
  readonly diskBytes: number;
  readonly membership: string | readonly string[];
  readonly listen: {
    readonly address: string;
    readonly coapPort: number;
    readonly httpPort: number;
    readonly advertise: { readonly host?: string; readonly coapPort?: number; readonly httpPort?: number };
  };
  readonly backend: { readonly url: string; readonly audience: string };
  readonly summons: boolean;
  readonly group: {
    readonly windowMs: number;
    readonly roundDeadlineMs: number;
    readonly sleeperDeadlineMs: number;
    readonly maxAttempts: number;
  };
}

export interface MeterConfig extends ServerFiles {
  readonly diskBytes: number;
  readonly callable: boolean;
  readonly wakeIntervalS: number;
  readonly gatewayTd?: string;
  readonly listen: {
    readonly scheme: 'coap' | 'http';
    readonly address: string;
    readonly port: number;
    readonly advertise: { readonly host?: string; readonly port?: number };
  };
  readonly clockErrorS: number;
  readonly source: SourceConfig;
}

export interface MeterHostConfig extends CommonConfig {
  readonly gateway: { readonly td: string; readonly others: readonly string[] };
  readonly reportIntervalS: number;
  readonly meters: readonly MeterConfig[];
}

export interface Configs {
  readonly backend: BackendConfig;
  readonly gateway: GatewayConfig;
  readonly meter: MeterHostConfig;
}

/** Fields that name a file or folder, relative to the configuration file. */
const pathFields = new Set(['root', 'dataDir', 'certificate', 'key', 'membership', 'path', 'database']);

const allRoles = ['backend', 'gateway', 'meter'] as const;

/**
 * What a role is configured with: its file, and what the environment says in its place.
 * @throws SetupError `config-missing` where neither is there, `environment-unknown`, and as `readConfig`
 */
export function runningConfig<Role extends keyof Configs>(
  role: Role,
  path: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): Configs[Role] {
  const applied = applyEnvironment(path === undefined ? {} : parseConfig(role, path), {
    schema: configSchema(role),
    others: allRoles.filter((other) => other !== role).map(configSchema),
    environment,
    isPath: (field) => pathFields.has(field),
  });
  if (path === undefined && Object.keys(applied as object).length === 0) {
    const advice = '--config-schema says what goes into it, and which environment variables may take its place';
    throw new SetupError('config-missing', `a ${role} needs --config FILE; ${advice}`);
  }
  return checkedConfig(role, path ?? 'the environment', applied);
}

/** @throws SetupError `file-unreadable`, `config-invalid` naming every field that is wrong and why */
export const readConfig = <Role extends keyof Configs>(role: Role, path: string): Configs[Role] =>
  checkedConfig(role, path, parseConfig(role, path));

function parseConfig(role: keyof Configs, path: string): unknown {
  try {
    return JSON.parse(readText(path, `configuration of a ${role}`));
  } catch (cause) {
    if (cause instanceof SetupError) throw cause;
    throw new SetupError('config-invalid', `${path} is not JSON: ${(cause as Error).message}`, cause);
  }
}

function checkedConfig<Role extends keyof Configs>(role: Role, path: string, config: unknown): Configs[Role] {
  const validate = validatorOf(role);
  if (!validate(config)) {
    const faults = (validate.errors ?? []).map(({ instancePath, message, params }) => {
      const extra = 'additionalProperty' in params ? ` “${String(params['additionalProperty'])}”` : '';
      return `${instancePath || '/'} ${message ?? 'is invalid'}${extra}`;
    });
    throw new SetupError('config-invalid', `${path} does not fit the schema of a ${role}: ${faults.join('; ')}`);
  }
  const folder = dirname(resolve(path));
  return mapPaths(config, (file) => resolve(folder, file)) as Configs[Role];
}

/** The published JSON Schema of a role's configuration. */
export const configSchema = (role: keyof Configs): object =>
  JSON.parse(readFileSync(new URL(`./config/${role}.schema.json`, import.meta.url), 'utf8')) as object;

function validatorOf(role: keyof Configs): ValidateFunction {
  const ajv = new Ajv({ allErrors: true, useDefaults: true });
  addFormats.default(ajv);
  return ajv.compile(configSchema(role));
}

/** A configuration with every file and folder that it names replaced. */
export function mapPaths(value: unknown, replace: (path: string) => string): unknown {
  if (Array.isArray(value)) return value.map((item) => mapPaths(item, replace));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name,
      pathFields.has(name) ? replacePath(field, replace) : mapPaths(field, replace),
    ]),
  );
}

/** One path or several; a database may also be a URL. */
function replacePath(value: unknown, replace: (path: string) => string): unknown {
  if (Array.isArray(value)) return value.map((item) => replacePath(item, replace));
  return typeof value === 'string' && !isUrl(value) ? replace(value) : value;
}
