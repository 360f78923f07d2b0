/** The network simulator: links of UDP and TCP under one impairment and one seed. */
import type { Counts, Impairment } from './impairment.js';
import { linkDefaults, Tally, type Link, type LinkLimits, type LinkPlan } from './link.js';
import { openTcpLink } from './tcp-link.js';
import { openUdpLink } from './udp-link.js';

export interface SimulatorPlan {
  readonly links: readonly LinkPlan[];
  readonly impairment: Impairment;
  /** The same seed makes the same decisions, for each link, client in the order of their coming, and direction. */
  readonly seed: string;
  readonly limits?: Partial<LinkLimits>;
}

export interface Simulator {
  /** As planned, with the ports that were taken. */
  readonly links: readonly LinkPlan[];
  readonly counts: Counts;
  close(): Promise<void>;
}

/** Starts all links, or none. @throws SetupError `port-unusable` */
export async function startSimulator({ links, impairment, seed, limits }: SimulatorPlan): Promise<Simulator> {
  const tally = new Tally();
  const opened: Link[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(opened.map((link) => link.close()));
  };
  try {
    for (const plan of links) {
      const open = plan.protocol === 'udp' ? openUdpLink : openTcpLink;
      opened.push(await open({ plan, impairment, seed, tally, limits: { ...linkDefaults, ...limits } }));
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    links: links.map((plan, index) => ({ ...plan, listen: opened[index]?.listening ?? plan.listen })),
    get counts() {
      return tally.counts;
    },
    close,
  };
}
