/**
 * Folds with one team of invocations per row: they share the row, then join their results in a fixed order. For rows
 * whose elements lie side by side; on the software adapter only where one invocation would take too many loop turns.
 *
 * @module
 */
import { type Fold, points, type Stage } from "../compiler/kernel.ts";
import { isIndexStage, sharedWalks } from "../compiler/walks.ts";
import { loadCost, type Walk } from "./fold_plan.ts";
import { checkTurns, type Dispatch, parametersOf } from "./schedule.ts";
import { type AxisValue, decodeAxes, fixed } from "./wgsl_axes.ts";
import { Block, Shader } from "./wgsl.ts";
import { Emitter, type Value, widened } from "./wgsl_expression.ts";
import { type FoldOptions, storeWalks, vectorOutputs } from "./wgsl_fold.ts";
import { combineText, storedType, type Width } from "./wgsl_math.ts";
import { Partial, rowMajor } from "./wgsl_partial.ts";
import { Team, teamSize } from "./wgsl_team.ts";

/** The dispatch of a simplified fold that has at least one stage. */
export function foldByTeams(kernel: Fold, { family, scratchFrom, toScratch }: FoldOptions): Dispatch {
  const size = teamSize(kernel);
  const workgroup = size.lanes * size.teams;
  const shader = new Shader({
    ...kernel,
    workgroup,
    scratchFrom,
    toScratch,
    parameters: parametersOf(family),
  });
  const block = shader.body;
  const team = new Team(shader, size, points(kernel.axes));
  const axes = decodeAxes(block, team.row, kernel.axes, undefined, "axis");
  // Four neighbours at once along the only axis of a walk.
  const inner = [...kernel.stages, ...kernel.stores].map((walk) =>
    canBeWide(walk, kernel.axes.length) ? 0 : undefined
  );
  const results: Value[] = [];
  let turns = 0;
  for (const walk of sharedWalks(kernel.stages, (first, next) => inner[first] === inner[next])) {
    const width = inner[walk[0]!] === undefined ? 1 : 4;
    turns += writeStages(team, kernel.stages, walk, width, axes, results);
  }
  const plan = { parallel: undefined, inner };
  const wide = vectorOutputs(kernel, plan);
  for (const walk of storeWalks(kernel, plan)) {
    const stores = walk.map((number) => kernel.stores[number]!);
    const write = (inside: Block, place: readonly AxisValue[]): void => {
      const emitter = new Emitter(inside, [...axes, ...place], results);
      for (const { output, at, value } of stores) {
        emitter.store(output, at, emitter.value(value), kernel.outputs[output]!, wide[output]!);
      }
    };
    const own = stores[0]!.axes;
    if (points(own) === 1) {
      when(block, [`${team.lane} == 0u`, team.exists], (inside) => write(inside, own.map(() => fixed(0))));
      continue;
    }
    const width = inner[kernel.stages.length + walk[0]!] === undefined ? 1 : 4;
    turns += team.walk(block, own, width, (inside, place, _, exists) => {
      when(inside, [exists, team.exists], (then) => write(then, place));
    });
  }
  return shader.finish(checkTurns(kernel.label, turns, family));
}

/** Writes what is done where all conditions hold. */
function when(
  block: Block,
  conditions: readonly (string | undefined)[],
  then: (inside: Block) => void,
): void {
  const given = conditions.filter((condition) => condition !== undefined);
  if (given.length === 0) return then(block);
  const inside = new Block(block.shader, block);
  then(inside);
  block.nest(`if (${given.join(" && ")})`, inside);
}

/** Stages in one walk: every lane reduces its share, then they join in pairs. Results are added to `results`. */
function writeStages(
  team: Team,
  stages: readonly Stage[],
  walk: readonly number[],
  width: Width,
  axes: readonly AxisValue[],
  results: Value[],
): number {
  const block = team.shader.body;
  const own = walk.map((number) => stages[number]!);
  const partials = own.map(({ combine, value }) => new Partial(block, combine, value.dtype, width));
  const turns = team.walk(block, own[0]!.axes, width, (inside, place, step, exists) => {
    const emitter = new Emitter(inside, [...axes, ...place], results);
    own.forEach((stage, k) => {
      const { combine, value: { dtype } } = stage;
      const text = widened(emitter.value(stage.value), dtype, width);
      // What is not there is read as the last place: an extremum may see that twice.
      const isSafe = exists === undefined || (combine !== "sum" && combine !== "product");
      const value = isSafe
        ? text
        : `select(${block.shader.start(combine, dtype, width)}, ${text}, ${exists})`;
      partials[k]!.add(inside, step, value, () => rowMajor(inside, stage.axes, place));
    });
  }, (inside) => partials.forEach((partial) => partial.carry(inside)));
  const found = partials.map((partial, k): Value => {
    const [stage, number] = [own[k]!, walk[k]!];
    const text = partial.isPlace
      ? joinPlaces(team, stage, number, partial.extremum())
      : joinValues(team, stage, number, partial.finish(block, width === 4).text);
    return { text, width: 1, depth: 0 };
  });
  results.push(...found);
  return turns;
}

/** Whether four neighbours of a row can be taken at once. */
function canBeWide(walk: Walk | Stage, first: number): boolean {
  const { axes, value } = walk;
  return !("combine" in walk && isIndexStage(walk)) && axes.length === 1 && axes[0]! % 4 === 0 &&
    loadCost(value, first) <= 3 * loadCost(value, undefined);
}

/** Joins one value per lane. */
function joinValues(team: Team, stage: Stage, number: number, own: string): string {
  const { shader, lane, size: { lanes, teams } } = team;
  const block = shader.body;
  const { dtype } = stage;
  const memory = `shared${number}`;
  shader.shared(memory, storedType(dtype, 1), lanes * teams);
  const load = (place: string): string =>
    dtype === "bool" ? `(${memory}[${place}] != 0u)` : `${memory}[${place}]`;
  const store = (text: string): string => dtype === "bool" ? `select(0u, 1u, ${text})` : text;
  block.lines.push(`${memory}[local.x] = ${store(own)};`, "workgroupBarrier();");
  for (let half = lanes / 2; half >= 1; half /= 2) {
    const joined = combineText(
      stage.combine,
      load("local.x"),
      load(`local.x + ${half}u`),
      dtype,
      1,
      shader.helpers,
    );
    block.lines.push(
      `if (${lane} < ${half}u) { ${memory}[local.x] = ${store(joined)}; }`,
      "workgroupBarrier();",
    );
  }
  return block.let(load(firstOf(team)));
}

/** Where the first lane of a team is in its workgroup. */
function firstOf({ lane, size: { teams } }: Team): string {
  return teams === 1 ? "0" : `local.x - ${lane}`;
}

/** Joins one extremum per lane: equal values give the first place. */
function joinPlaces(
  team: Team,
  stage: Stage,
  number: number,
  [best, at]: readonly [string, string],
): string {
  const { shader, lane, size: { lanes, teams } } = team;
  const block = shader.body;
  const { dtype } = stage.value;
  const [values, places] = [`shared${number}`, `places${number}`];
  shader.shared(values, storedType(dtype, 1), lanes * teams);
  shader.shared(places, "i32", lanes * teams);
  const stored = dtype === "bool" ? `select(0u, 1u, ${best})` : best;
  block.lines.push(
    `${values}[local.x] = ${stored};`,
    `${places}[local.x] = ${at};`,
    "workgroupBarrier();",
  );
  const direction = stage.combine === "argMax" ? ">" : "<";
  const nan = dtype === "f32" ? shader.helpers.use("isNan", 1) : undefined;
  for (let half = lanes / 2; half >= 1; half /= 2) {
    const inside = new Block(shader, block);
    const read = (array: string, place: string): string => inside.define(`${array}[${place}]`);
    const number = (text: string): string => dtype === "bool" ? `u32(${text})` : text;
    const [a, b] = [read(values, "local.x"), read(values, `local.x + ${half}u`)];
    const [p, q] = [read(places, "local.x"), read(places, `local.x + ${half}u`)];
    const aNan = nan === undefined ? "false" : `${nan}(${a})`;
    const bNan = nan === undefined ? "false" : `${nan}(${b})`;
    const better = `((${bNan} && !${aNan}) || (!${aNan} && ${number(b)} ${direction} ${number(a)}))`;
    const equal = `((${aNan} && ${bNan}) || ${a} == ${b})`;
    inside.lines.push(
      `if (${better} || (${equal} && ${q} < ${p})) {`,
      `  ${values}[local.x] = ${b};`,
      `  ${places}[local.x] = ${q};`,
      "}",
    );
    block.nest(`if (${lane} < ${half}u)`, inside);
    block.lines.push("workgroupBarrier();");
  }
  return block.let(`${places}[${firstOf(team)}]`);
}
