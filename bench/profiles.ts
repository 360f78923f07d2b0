/** What each verification profile costs a member: public-key operations, counted, and processor time. */
import type { Profile } from '../crypto/membership.js';
import type { Suite, SuiteName } from '../crypto/suite.js';
import { countingSuite, type PublicKeyWork } from './counting.js';
import { makeDeployment } from './deployment.js';
import { Group } from './group.js';
import { collectGarbage, cpuUs, median } from './statistics.js';

export interface ProfileRow extends PublicKeyWork {
  readonly suite: SuiteName;
  readonly profile: Profile;
  readonly members: number;
  /** Processor time of one member for one agreement, median over `epochs`. */
  readonly memberUs: number;
  readonly epochs: number;
}

/** @throws GridringError when a step refuses */
export const measureProfiles = (suite: Suite, members: number, epochs: number): readonly ProfileRow[] =>
  (['full', 'constrained'] as const).map((profile) => ({
    suite: suite.name,
    profile,
    members,
    ...countWork(suite, members, profile),
    memberUs: measureMember(suite, members, profile, epochs),
    epochs,
  }));

/** Of one member in one agreement: the mean of all. */
function countWork(suite: Suite, members: number, profile: Profile): PublicKeyWork {
  const counter = countingSuite(suite);
  const group = new Group(makeDeployment(counter.suite, members, profile));
  group.run((part, round) => (part === 'members' ? counter.during(round) : round()));
  const { keyPairs, agreements, signatures, verifications } = counter.work;
  return {
    keyPairs: keyPairs / members,
    agreements: agreements / members,
    signatures: signatures / members,
    verifications: verifications / members,
  };
}

function measureMember(suite: Suite, members: number, profile: Profile, epochs: number): number {
  const group = new Group(makeDeployment(suite, members, profile));
  const measured: number[] = [];
  for (let epoch = -2; epoch < epochs; epoch++) {
    let used = 0;
    collectGarbage();
    group.run((part, round) => {
      const { result, us } = cpuUs(round);
      if (part === 'members') used += us;
      return result;
    });
    used += cpuUs(collectGarbage).us;
    if (epoch >= 0) measured.push(used / members);
  }
  return median(measured);
}
