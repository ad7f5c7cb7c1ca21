/**
 * A run on its way: steps, checkpoints and evaluations in turns, and what is saved when something goes wrong.
 *
 * @module
 */
import type { TrainState } from "../../models/mod.ts";
import { random } from "../../ops/mod.ts";
import type { Batch } from "../data/batch.ts";
import { reason } from "../data/errors.ts";
import { realize } from "../evaluate.ts";
import type { Tensor } from "../tensor.ts";
import { runFiles, WriteError } from "./checkpoint_files.ts";
import { LossError, runSteps } from "./loop.ts";
import type { Progress } from "./progress.ts";
import { tryRun } from "./session_cost.ts";
import { withAdvice } from "./session_data.ts";
import { evaluateRun, type Run, saveRun, type Standing } from "./session_report.ts";

/** What keeps the random numbers of steps and of first weights apart. */
const trainingStream = 1;

/** Whether an evaluation is due: after the last step and between, unless it was done already. */
export function isEvaluationDue(
  { total, evalEvery }: Pick<Run, "total" | "evalEvery">,
  { done, evaluated }: Standing,
): boolean {
  return done > 0 && evaluated < done && (done === total || done % evalEvery === 0);
}

/**
 * Takes a run from where it stands to its end, or to where it is stopped. Its state is saved before the first step,
 * before every evaluation, now and then between two, and on the way out of every error.
 *
 * @param run The run.
 * @param state Its state; its memory is given up.
 * @param standing How it stands.
 * @param isNew Whether nothing of it is saved yet.
 */
export async function runToEnd(
  run: Run,
  state: TrainState,
  standing: Standing,
  { isNew }: { isNew: boolean },
): Promise<Standing> {
  const way = new Way(run, state, standing, isNew);
  try {
    return await way.go();
  } catch (error) {
    await way.rescue(error);
    throw withAdvice(error);
  }
}

class Way {
  /** Steps of the last checkpoint, steps of the state, and steps whose metrics are told. */
  #saved: number;
  #reached: number;
  #told: number;

  constructor(readonly run: Run, public state: TrainState, public standing: Standing, isNew: boolean) {
    this.#saved = isNew ? -1 : standing.done;
    this.#reached = this.#told = standing.done;
  }

  async go(): Promise<Standing> {
    const { run } = this;
    const { total, stopping, progress } = run;
    const from = this.standing.done;
    if (this.#saved < 0) await this.#save();
    stopping.says = "Stopping when this program is compiled; the run is saved as it is";
    // The first batches are made while the programs are compiled.
    const batches = run.loader.batches({ from, to: total });
    const due = isEvaluationDue(run, this.standing) ? 1 : 0;
    const cost = await tryRun(run, this.state, {
      from,
      total,
      evaluations: due + evaluationsAfter(from, run),
    });
    if (cost === undefined) return this.standing;
    progress.note(cost.line);

    const key = await realize(random.foldIn(random.key(run.config.seed), trainingStream));
    const unlabeled = new UnlabeledSteps(progress, from);
    const images = run.config.batch * (run.config.method === "supervised" ? 1 : 2);
    progress.start({ total, imagesPerStep: images, from });
    let { stepSeconds } = cost;
    while (run.signal?.aborted !== true) {
      const { done } = this.standing;
      if (isEvaluationDue(run, this.standing)) {
        stopping.says = `Stopping; step ${done} is saved, and is evaluated when the run goes on`;
        this.standing = await evaluateRun(run, this.state, this.standing);
        unlabeled.report(done);
      } else if (done === total) break;
      else {
        stopping.says = "Stopping after this step; the checkpoint will be saved";
        // Often enough for the eye, seldom enough for a fast device.
        const readEvery = Math.min(16, Math.max(1, Math.round(0.2 / cost.stepSeconds)));
        const most = Math.max(1, Math.floor(run.saveSeconds / stepSeconds));
        const begin = performance.now();
        await this.#steps({ batches, key, readEvery, most, unlabeled });
        // A slow source of data makes steps longer than the device does.
        stepSeconds = (performance.now() - begin) / 1000 / Math.max(1, this.standing.done - done);
        await this.#save();
      }
    }
    return this.standing;
  }

  /** Takes steps until the next evaluation, at most so many, or until it is stopped. */
  async #steps({ batches, key, readEvery, most, unlabeled }: {
    batches: AsyncIterator<Batch>;
    key: Tensor;
    readEvery: number;
    most: number;
    unlabeled: UnlabeledSteps;
  }): Promise<void> {
    const { config, log, phases, progress, signal, total, evalEvery } = this.run;
    const from = this.standing.done;
    progress.steps(from);
    const { done } = await runSteps(this.state, {
      from,
      to: Math.min(total, (Math.floor(from / evalEvery) + 1) * evalEvery, from + most),
      stepAt: (t) => phases.find(({ to }) => t < to)!.step,
      batches,
      crop: config.crop,
      key,
      readEvery,
      onState: (state, reached) => {
        this.state = state;
        this.#reached = reached;
      },
      onUnlabeled: (step) => unlabeled.add(step),
      onMetrics: (step, metrics) => {
        log.append({ step, ...metrics });
        this.#told = step;
        const { loss, lr = 0, dataWait } = metrics;
        progress.update({ step, loss, lr, dataWait });
      },
      stopped: () => signal?.aborted === true || log.failure !== undefined,
    });
    this.standing = { ...this.standing, done };
  }

  async #save(): Promise<void> {
    await saveRun(this.run, this.state, { ...this.standing, done: this.#reached }, { best: false });
    this.#saved = this.#reached;
  }

  /** Saves what an error leaves, if that is new and good, and says what is saved. */
  async rescue(error: unknown): Promise<void> {
    const { folder, progress } = this.run;
    // A state whose metrics were not told would leave a gap in them, weights that are no numbers lead nowhere, and
    // a disk that took nothing a moment ago takes nothing now.
    const isGood = this.#told === this.#reached &&
      !(error instanceof LossError || error instanceof WriteError);
    if (isGood && this.#reached > this.#saved) {
      await this.#save().catch((failure) =>
        progress.note(`Step ${this.#reached} could not be saved: ${reason(failure)}`)
      );
    }
    const when = this.#saved === 0 ? "from before the first step" : `after step ${this.#saved}`;
    // The same steps lead to the same loss.
    const advice = error instanceof LossError ? "" : `; go on with: train.ts --resume ${folder}`;
    progress.note(
      this.#saved < 0
        ? `Nothing is saved in ${folder} yet`
        : `The last good checkpoint is ${folder}/${runFiles.latest}, ${when}${advice}`,
    );
  }
}

/** How many evaluations come after so many steps. */
function evaluationsAfter(done: number, { total, evalEvery }: Pick<Run, "total" | "evalEvery">): number {
  const regular = Math.floor(total / evalEvery) - Math.floor(done / evalEvery);
  return regular + (done < total && total % evalEvery !== 0 ? 1 : 0);
}

/** Counts steps whose labeled images have no pixel with a class, and tells of them. */
class UnlabeledSteps {
  #count = 0;
  #told = 0;

  constructor(readonly progress: Progress, readonly from: number) {}

  add(step: number): void {
    if (this.#count++ > 0) return;
    this.#told = 1;
    this.progress.note(
      `Step ${step} learns nothing from its labeled images: all pixels of their crops are ignored (255); look at ` +
        `the masks if this is not what they are to say`,
    );
  }

  report(done: number): void {
    if (this.#count === this.#told) return;
    this.#told = this.#count;
    this.progress.note(
      `${this.#count} of the ${
        done - this.from
      } steps so far had labeled images without any pixel that counts`,
    );
  }
}
