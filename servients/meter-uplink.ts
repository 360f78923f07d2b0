/** What a meter does with its gateway: it enrols, follows the rounds, and delivers its readings. */
import { GridringError, UnavailableError } from '../crypto/errors.js';
import type { Meter } from '../things/meter.js';
import { RoundFollower, type Submission } from '../things/round-follower.js';
import type { GatewayLink } from './gateway-link.js';
import { codeOf, type Runtime } from './runtime.js';

export class MeterUplink {
  readonly #id: string;
  readonly #meter: Meter;
  readonly #td: string;
  readonly #link: GatewayLink;
  readonly #log: Runtime['log'];
  readonly #follower: RoundFollower;
  #enrolled = false;

  constructor(id: string, meter: Meter, td: string, link: GatewayLink, log: Runtime['log']) {
    this.#id = id;
    this.#meter = meter;
    this.#td = td;
    this.#link = link;
    this.#log = log;
    this.#follower = new RoundFollower(meter.groups, log.child({ meter: id }));
  }

  get enrolled(): boolean {
    return this.#enrolled;
  }

  /**
   * Enrols where that is due, and uploads all there is. A meter that the gateway refuses to enrol, for it is no member any
   * more, still delivers what it measured before.
   * @throws GridringError; nothing is forgotten that the gateway has not signed for
   */
  async deliver(signal: AbortSignal): Promise<void> {
    let refusal: unknown;
    try {
      await this.#enrolIfDue();
    } catch (error) {
      if (error instanceof UnavailableError) throw error;
      refusal = error;
    }
    while (!signal.aborted && (await this.#uploadOnce()));
    if (refusal !== undefined) throw refusal as Error;
  }

  /** Once, and again when an epoch went by without this meter. */
  async #enrolIfDue(): Promise<void> {
    if (this.#enrolled) return;
    await this.#meter.groups.updateMembership(await this.#link.invoke('enrol', this.#meter.enrolment(this.#td)));
    this.#enrolled = true;
  }

  /** Does one step in every group with what the gateway shows. @throws GridringError when it shows nothing readable */
  async follow(): Promise<void> {
    const { submissions, missed } = await this.#follower.follow(await this.#link.round());
    for (const submission of submissions) await this.#submit(submission);
    if (missed) this.#enrolled = false;
  }

  /** The gateway may have gone on meanwhile: what it refuses is shown again, or over. */
  async #submit({ action, message }: Submission): Promise<void> {
    try {
      await this.#link.invoke(action, message);
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
      this.#log.warn({ meter: this.#id, action, code: codeOf(error), err: error }, 'the gateway did not take a reply');
    }
  }

  /** @returns whether there was something to upload */
  async #uploadOnce(): Promise<boolean> {
    const upload = await this.#meter.nextUpload();
    if (!upload) return false;
    await this.#meter.acknowledge(upload, await this.#link.invoke('submitReadings', upload.message));
    return true;
  }
}
