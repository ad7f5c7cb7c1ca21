/**
 * Folds with one workgroup per row: its invocations share the row, then join their results in a fixed order.
 * For long rows whose elements lie side by side; on the software adapter only where one invocation would
 * take too many loop turns.
 *
 * @module
 */
import { type Fold, points, type Stage } from "../compiler/kernel.ts";
import { isIndexStage } from "../compiler/walks.ts";
import { checkTurns, type Dispatch, parametersOf } from "./schedule.ts";
import { type AxisValue, decodeAxes, fixed, variable } from "./wgsl_axes.ts";
import { Block, Shader } from "./wgsl.ts";
import { Emitter, type Value, widened } from "./wgsl_expression.ts";
import type { FoldOptions } from "./wgsl_fold.ts";
import { Partial, rowMajor } from "./wgsl_partial.ts";
import { combineText, storedType, type Width } from "./wgsl_math.ts";
import { loadCost } from "./fold_plan.ts";

/** Invocations per row: as many as have something to do. */
function teamSize(kernel: Fold): number {
  const longest = Math.max(...kernel.stages.map((stage) => points(stage.axes)));
  return longest >= 2048 ? 256 : longest >= 512 ? 128 : 64;
}

/** The dispatch of a simplified fold that has at least one stage. */
export function foldByTeams(kernel: Fold, { family, scratchFrom, toScratch }: FoldOptions): Dispatch {
  const team = teamSize(kernel);
  const rows = points(kernel.axes);
  const parameters = parametersOf(family);
  const shader = new Shader({ ...kernel, workgroup: team, scratchFrom, toScratch, parameters });
  const block = shader.body;
  const axes = decodeAxes(block, shader.begin(rows, "workgroup"), kernel.axes, undefined, "axis");
  const results: Value[] = [];
  let turns = 0;
  kernel.stages.forEach((stage, k) => {
    const written = writeStage(block, stage, k, team, axes, results);
    results.push(written.value);
    turns += written.turns;
  });
  for (const store of kernel.stores) {
    const dtype = kernel.outputs[store.output]!;
    const write = (inside: Block, place: readonly AxisValue[]): void => {
      const emitter = new Emitter(inside, [...axes, ...place], results);
      emitter.store(store.output, store.at, emitter.value(store.value), dtype, false);
    };
    if (points(store.axes) === 1) {
      const inside = new Block(shader, block);
      write(inside, store.axes.map(() => fixed(0)));
      block.nest("if (local.x == 0u)", inside);
    } else {
      turns += share(block, store.axes, team, 1, write);
    }
  }
  return shader.finish(checkTurns(kernel.label, turns, family));
}

/** Walks along axes with all invocations, each taking every `team`-th place; returns the turns of one. */
function share(
  block: Block,
  axes: readonly number[],
  team: number,
  width: Width,
  visit: (inside: Block, place: readonly AxisValue[]) => void,
): number {
  const count = points(axes) / width;
  const inside = new Block(block.shader, block);
  const name = block.shader.fresh();
  const place = axes.length === 1
    ? [{
      ...variable(
        width === 4 ? inside.let(`i32(${name} * 4u)`) : inside.let(`i32(${name})`),
        inside.depth,
        width,
      ),
      isVector: width === 4,
    }]
    : decodeAxes(inside, name, axes, undefined, `walk ${axes}`);
  visit(inside, place);
  const end = block.shader.number(`walk ${name}`, count, "u32");
  block.nest(`for (var ${name} = local.x; ${name} < ${end}; ${name} += ${team}u)`, inside);
  return Math.ceil(count / team);
}

/** One stage: every invocation reduces its share, then they join in pairs. */
function writeStage(
  block: Block,
  stage: Stage,
  number: number,
  team: number,
  axes: readonly AxisValue[],
  results: readonly Value[],
): { value: Value; turns: number } {
  const { dtype } = stage.value;
  const width = canBeWide(stage, axes.length) ? 4 : 1;
  const partial = new Partial(block, stage.combine, dtype, width);
  const turns = share(block, stage.axes, team, width, (inside, place) => {
    const value = new Emitter(inside, [...axes, ...place], results).value(stage.value);
    partial.add(inside, 0, widened(value, dtype, width), () => rowMajor(inside, stage.axes, place));
  });
  const value = partial.isPlace
    ? joinPlaces(block, stage, number, team, partial.extremum())
    : joinValues(block, stage, number, team, partial.finish(block, width === 4).text);
  return { value: { text: value, width: 1, depth: 0 }, turns };
}

/** Whether four neighbours of a row can be taken at once. */
function canBeWide(stage: Stage, first: number): boolean {
  const { axes, value } = stage;
  return !isIndexStage(stage) && axes.length === 1 && axes[0]! % 4 === 0 &&
    loadCost(value, first) <= 3 * loadCost(value, undefined);
}

/** Joins one value per invocation; the result is in `block`. */
function joinValues(block: Block, stage: Stage, number: number, team: number, own: string): string {
  const { shader } = block;
  const { dtype } = stage;
  const memory = `shared${number}`;
  shader.shared(memory, storedType(dtype, 1), team);
  const load = (place: string): string =>
    dtype === "bool" ? `(${memory}[${place}] != 0u)` : `${memory}[${place}]`;
  const store = (text: string): string => dtype === "bool" ? `select(0u, 1u, ${text})` : text;
  block.lines.push(`${memory}[local.x] = ${store(own)};`, "workgroupBarrier();");
  for (let half = team / 2; half >= 1; half /= 2) {
    const joined = combineText(
      stage.combine,
      load("local.x"),
      load(`local.x + ${half}u`),
      dtype,
      1,
      shader.helpers,
    );
    block.lines.push(
      `if (local.x < ${half}u) { ${memory}[local.x] = ${store(joined)}; }`,
      "workgroupBarrier();",
    );
  }
  return block.let(load("0"));
}

/** Joins one extremum per invocation: equal values give the first place. */
function joinPlaces(
  block: Block,
  stage: Stage,
  number: number,
  team: number,
  [best, at]: readonly [string, string],
): string {
  const { shader } = block;
  const { dtype } = stage.value;
  const [values, places] = [`shared${number}`, `places${number}`];
  shader.shared(values, storedType(dtype, 1), team);
  shader.shared(places, "i32", team);
  const stored = dtype === "bool" ? `select(0u, 1u, ${best})` : best;
  block.lines.push(
    `${values}[local.x] = ${stored};`,
    `${places}[local.x] = ${at};`,
    "workgroupBarrier();",
  );
  const direction = stage.combine === "argMax" ? ">" : "<";
  const nan = dtype === "f32" ? shader.helpers.use("isNan", 1) : undefined;
  for (let half = team / 2; half >= 1; half /= 2) {
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
    block.nest(`if (local.x < ${half}u)`, inside);
    block.lines.push("workgroupBarrier();");
  }
  return block.let(`${places}[0]`);
}
