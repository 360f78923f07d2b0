/**
 * Who may do what: the roles of people (IEC 62351-8, and households) and of certificates, as scopes. docs/roles.md shows
 * these tables, and a test holds the page against them.
 */
import type { Role } from '../../crypto/certificate.js';

export const scopes = {
  'things:read': 'see Things in the directory',
  'things:write': 'register Things in the directory',
  'groups:read': 'see groups and their newest epochs',
  'epochs:read': 'see epochs, their records and proofs, and hear of new ones',
  'membership:read': 'see membership lists and policies, and hear of new ones',
  'membership:publish': 'bring membership lists and what the authority is asked to sign',
  'meters:read': 'see meters, and how much they sent',
  'readings:read': 'fetch sealed readings, chains and grants, which only their reader can open',
  rekey: 'ask for a new epoch',
  command: 'bring signed commands to meters, gateways and the backend',
  'enrolment:manage': 'let devices enrol, and see those that wait',
  'audit:read': 'read and verify the audit log',
  'users:read': 'see accounts',
  'users:manage': 'make, change and disable accounts, and end their sessions',
  export: 'take exports',
  gateway: 'what gateways alone do: record epochs, upload readings',
} as const;

export type Scope = keyof typeof scopes;

const view = ['things:read', 'groups:read', 'epochs:read', 'membership:read', 'meters:read'] as const;

/** The seven of IEC 62351-8, and a household. */
export const personRoles = {
  VIEWER: view,
  OPERATOR: [...view, 'readings:read', 'rekey', 'command'],
  ENGINEER: [...view, 'readings:read', 'things:write', 'export'],
  INSTALLER: ['things:read', 'groups:read', 'meters:read', 'enrolment:manage'],
  SECADM: [...view, 'membership:publish', 'rekey', 'command', 'enrolment:manage', 'audit:read', 'users:read'],
  SECAUD: [...view, 'audit:read', 'users:read', 'export'],
  RBACMNT: ['users:read', 'users:manage'],
  /** All of these for the account's own meters alone. */
  HOUSEHOLD: ['things:read', 'groups:read', 'epochs:read', 'meters:read', 'readings:read'],
} as const satisfies Readonly<Record<string, readonly Scope[]>>;

export type PersonRole = keyof typeof personRoles;

export const isPersonRole = (name: string): name is PersonRole => Object.hasOwn(personRoles, name);

/**
 * Of devices, readers and operators with a certificate of the deployment, who show it instead of an account. What they see
 * of meters the signed lists say.
 */
export const certificateRoles: Readonly<Record<Role, readonly Scope[]>> = {
  meter: ['things:read', 'groups:read', 'epochs:read', 'membership:read'],
  gateway: [...view, 'readings:read', 'things:write', 'gateway'],
  backend: ['things:read', 'groups:read', 'epochs:read', 'membership:read'],
  reader: [...view, 'readings:read'],
  operator: [...view, 'readings:read', 'rekey', 'command', 'audit:read'],
  authority: [
    ...view,
    'membership:publish',
    'rekey',
    'command',
    'enrolment:manage',
    'audit:read',
    'users:read',
    'users:manage',
    'export',
  ],
};
