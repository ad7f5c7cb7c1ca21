/**
 * Builds one kernel from its root downwards: the root's axes are the kernel's axes, and every node below is
 * asked for its expression at the affine forms at which it is read. A reduction or contraction that is met
 * there, with no other reader, becomes the body of the kernel, and what lies above it its epilogue. Where a
 * reshape needs an axis in two pieces, the kernel is built again with the axis split; where such a reduction is
 * read at two positions (a sum less its own transpose), with the reduction in a buffer.
 *
 * @module
 */
import type { GraphNode } from "../graph.ts";
import type { ContractionForms, Lowering } from "../primitive.ts";
import { contiguousStrides, Forms, NotAffine, SplitAxis, usefulGuards } from "./affine.ts";
import { mapAffine } from "./expression.ts";
import { type Affine, type Expr, type Guard, type Kernel, points, type Stage, type Store } from "./kernel.ts";

/** What the build asks of the graph and of the decisions about it. */
export interface Nodes {
  node(place: number): GraphNode;
  isRealised(place: number): boolean;
  /** Whether several kernels read the node, so that none of them may take it in. */
  isShared(place: number): boolean;
  /** Makes the node a buffer, if it is not one yet. */
  realise(place: number): void;
}

/** Where the result of a kernel's root goes: an element of which buffer, for a position of the root. */
export interface Target {
  readonly buffer: number;
  readonly at: (forms: Forms, position: readonly Affine[]) => Affine;
}

/** Thrown when a reduction or contraction in the kernel's body is read at a second position: it must be a buffer of its own. */
export class ReadTwice {
  constructor(readonly place: number) {}
}

/** A contraction that became the body of the kernel. */
interface AbsorbedContraction {
  readonly place: number;
  /** The kernel axes, in root order, of each of its lists. */
  readonly lists: Readonly<Record<"batch" | "rows" | "columns", number[]>>;
  /** The kernel axes that each of its output axes is made of. */
  readonly extents: readonly number[][];
}

/** One attempt at one kernel. */
export class KernelBuild {
  /** Kernel axes in root order; each belongs to a group that can be split. */
  readonly #groups: { key: string; sizes: number[] }[] = [];
  readonly #inputs: number[] = [];
  readonly #stages: Stage[] = [];
  /** Reductions and contractions in the body of the kernel, with the one position at which it knows their value. */
  readonly #absorbed = new Map<number, { readonly position: string; readonly value: Expr }>();
  #contraction: AbsorbedContraction | undefined;
  #time = -1;
  #label: string;

  constructor(
    readonly fuser: Nodes,
    readonly root: number,
    readonly target: Target,
    readonly splits: Map<string, number[]>,
  ) {
    const node = fuser.node(root);
    this.#label = node.op?.name ?? "copy";
    node.shape.forEach((size, axis) => this.#group(`root ${axis}`, size));
  }

  #group(key: string, size: number): { key: string; sizes: number[] } {
    const group = { key, sizes: this.splits.get(key) ?? [size] };
    this.#groups.push(group);
    return group;
  }

  /** Puts a split on record for the next attempt. */
  split({ axis, inner }: SplitAxis): void {
    let k = axis;
    for (const group of this.#groups) {
      if (k < group.sizes.length) {
        this.splits.set(
          group.key,
          group.sizes.flatMap((size, part) => part === k ? [size / inner, inner] : [size]),
        );
        return;
      }
      k -= group.sizes.length;
    }
    throw new Error("a split of an axis that the kernel does not have");
  }

  /** The form of each group: its pieces in mixed radix. */
  #groupForms(forms: Forms, groups: readonly { sizes: readonly number[] }[], first: number): Affine[] {
    let axis = first;
    return groups.map(({ sizes }) => {
      const strides = contiguousStrides(sizes);
      return forms.add(
        forms.constant(0),
        ...sizes.map((_, part) => forms.scale(forms.axis(axis++), strides[part]!)),
      );
    });
  }

  finish(): { kernel: Kernel; inputs: number[]; time: number } {
    const node = this.fuser.node(this.root);
    const sizes = this.#groups.flatMap((group) => group.sizes);
    const forms = new Forms(sizes);
    const position = this.#groupForms(forms, this.#groups, 0);
    const scope = new Scope(forms, true);
    const value = this.emit(scope, this.root, position, [], true);
    const store: Store = { output: 0, at: this.target.at(forms, position), axes: [], value };
    const shared = { label: `${this.#label}[${node.shape}]`, outputs: [node.dtype] };
    const dtypes = (): Kernel["inputs"] => this.#inputs.map((input) => this.fuser.node(input).dtype);
    if (this.#contraction === undefined) {
      const kernel: Kernel = {
        kind: "fold",
        ...shared,
        inputs: dtypes(),
        axes: sizes,
        stages: this.#stages,
        stores: [store],
      };
      return { kernel, inputs: this.#inputs, time: this.#time };
    }
    const contraction = this.#finishContraction(this.#contraction, sizes, store);
    return {
      kernel: { ...contraction, ...shared, inputs: dtypes() } as Kernel,
      inputs: this.#inputs,
      time: this.#time,
    };
  }

  #finishContraction(
    { place, lists, extents }: AbsorbedContraction,
    sizes: readonly number[],
    store: Store,
  ): Omit<Kernel & { kind: "contraction" }, "label" | "inputs" | "outputs"> {
    const node = this.fuser.node(place);
    const lowering = node.op!.lowering as Lowering<unknown> & { kind: "contraction" };
    const plan = lowering.plan(node.inputs.map((input) => this.fuser.node(input)), node.params);
    // From root order to [batch, rows, columns], then the inner axes.
    const order = [...lists.batch, ...lists.rows, ...lists.columns];
    const outer = order.map((axis) => sizes[axis]!);
    const reorder = (form: Affine): Affine => ({
      offset: form.offset,
      coefficients: [...order.map((axis) => form.coefficients[axis] ?? 0), ...inner.map(() => 0)],
    });
    const rootGroups = this.#groups.length;
    const innerGroups = plan.inner.map((size, k) => this.#group(`inner ${k}`, size));
    const inner = innerGroups.flatMap((group) => group.sizes);
    const forms = new Forms([...outer, ...inner]);
    // The form of a plan axis: its kernel axes (in root order, now moved) in mixed radix.
    const moved = new Map(order.map((axis, k) => [axis, k]));
    const axisForm = (axes: readonly number[]): Affine => {
      const strides = contiguousStrides(axes.map((axis) => sizes[axis]!));
      return forms.add(
        forms.constant(0),
        ...axes.map((axis, k) => forms.scale(forms.axis(moved.get(axis)!), strides[k]!)),
      );
    };
    const given: Record<string, Affine[]> = { batch: [], rows: [], columns: [] };
    plan.output.forEach(({ list, index }, k) => given[list]![index] = axisForm(extents[k]!));
    for (const list of ["batch", "rows", "columns"] as const) {
      plan[list].forEach((_, index) => given[list]![index] ??= forms.constant(0));
    }
    const all = {
      ...given,
      inner: this.#groupForms(forms, innerGroups, outer.length),
    } as unknown as ContractionForms;
    try {
      const operand = (side: "left" | "right"): Expr => {
        const { input, forms: at, guards = [], fill = 0 } = plan[side](all, forms);
        return this.#placed(new Scope(forms, false), node.inputs[input]!, at, guards, fill, []);
      };
      const [left, right] = [operand("left"), operand("right")];
      const moveStore = mapAffine(store.value, reorder);
      return {
        kind: "contraction",
        batch: lists.batch.map((axis) => sizes[axis]!),
        rows: lists.rows.map((axis) => sizes[axis]!),
        columns: lists.columns.map((axis) => sizes[axis]!),
        inner,
        left,
        right,
        stores: [{ ...store, at: reorder(store.at), value: moveStore }],
      };
    } catch (request) {
      if (!(request instanceof SplitAxis) || request.axis >= order.length) {
        if (request instanceof SplitAxis) {
          throw new SplitAxis(
            this.#groups.slice(0, rootGroups).flatMap((g) => g.sizes).length + request.axis - order.length,
            request.inner,
          );
        }
        throw request;
      }
      throw new SplitAxis(order[request.axis]!, request.inner);
    }
  }

  #input(place: number): number {
    let k = this.#inputs.indexOf(place);
    if (k < 0) k = this.#inputs.push(place) - 1;
    return k;
  }

  #load(scope: Scope, place: number, at: Affine, guards: readonly Guard[]): Expr {
    const useful = usefulGuards(scope.forms, guards);
    const { dtype } = this.fuser.node(place);
    if (useful === undefined) return { kind: "constant", dtype, value: 0 };
    return { kind: "load", dtype, input: this.#input(place), at, guards: useful, fill: 0 };
  }

  /**
   * The value of a node at a position. `guards` say where it will be used at all: outside them nothing may be
   * read. `atRoot` is true while only elementwise and movement nodes lie between here and the store.
   */
  emit(
    scope: Scope,
    place: number,
    position: readonly Affine[],
    guards: readonly Guard[],
    atRoot: boolean,
  ): Expr {
    const key = `${place}|${JSON.stringify(position)}|${JSON.stringify(guards)}`;
    const known = scope.memo.get(key);
    if (known !== undefined) return known;
    const expr = this.#emit(scope, place, position, guards, atRoot);
    scope.memo.set(key, expr);
    return expr;
  }

  #emit(
    scope: Scope,
    place: number,
    position: readonly Affine[],
    guards: readonly Guard[],
    atRoot: boolean,
  ): Expr {
    const node = this.fuser.node(place);
    const isRoot = place === this.root && scope.isStore && atRoot;
    if (this.fuser.isRealised(place)) {
      return this.#load(scope, place, scope.forms.address(position, contiguousStrides(node.shape)), guards);
    }
    const absorbed = this.#absorbed.get(place);
    if (absorbed !== undefined) {
      if (absorbed.position === JSON.stringify(position)) return absorbed.value;
      throw new ReadTwice(place);
    }
    const lowering = node.op!.lowering;
    const mayAbsorb = atRoot && scope.isStore && guards.length === 0 &&
      (isRoot || !this.fuser.isShared(place));
    switch (lowering.kind) {
      case "generator":
        return lowering.expr(position, node.params, node);
      case "elementwise": {
        const inputs = node.inputs.map((input) => this.emit(scope, input, position, guards, atRoot));
        return lowering.expr(inputs, node.params, node);
      }
      case "movement":
        return this.#emitMovement(scope, node, lowering, position, guards, atRoot);
      case "gather":
        return this.#emitGather(scope, node, lowering, position, guards);
      case "reduction":
        if (mayAbsorb && this.#contraction === undefined && usesEveryAxis(scope.forms, position)) {
          return this.#absorb(place, position, this.#absorbReduction(scope, place, node, lowering, position));
        }
        break;
      case "contraction":
        if (mayAbsorb && this.#stages.length === 0 && this.#contraction === undefined) {
          const extents = bijection(scope.forms, position, node.shape);
          if (extents !== undefined) {
            return this.#absorb(place, position, this.#absorbContraction(place, node, lowering, extents));
          }
          if (isRoot) throw new Error(`the axes of ${node.op!.name} are not its own`);
        }
        break;
      case "assembly":
      case "kernel":
        break;
      case "composition":
        throw new Error(`composition ${node.op!.name} was not written out`);
    }
    this.fuser.realise(place);
    return this.emit(scope, place, position, guards, false);
  }

  #emitGather(
    scope: Scope,
    node: GraphNode,
    lowering: Lowering<unknown> & { kind: "gather" },
    position: readonly Affine[],
    guards: readonly Guard[],
  ): Expr {
    const [table, places] = [node.inputs[0]!, node.inputs[1]!];
    const { dtype } = node;
    const axis = lowering.axis(node.params);
    this.fuser.realise(table);
    const useful = usefulGuards(scope.forms, guards);
    if (useful === undefined) return { kind: "constant", dtype, value: 0 };
    const { shape } = this.fuser.node(table);
    const [size, strides] = [shape[axis]!, contiguousStrides(shape)];
    const stride = strides[axis]!;
    const row = position.map((form, k) => k === axis ? scope.forms.constant(0) : form);
    const at = scope.forms.address(row, strides);
    const fill = dtype === "f32" ? NaN : 0;
    const index = this.emit(scope, places, position, guards, false);
    if (index.kind === "constant") {
      if (index.value < 0 || index.value >= size) return { kind: "constant", dtype, value: fill };
      return this.#load(scope, table, scope.forms.shift(at, index.value * stride), guards);
    }
    return {
      kind: "gather",
      dtype,
      input: this.#input(table),
      at,
      index,
      stride,
      size,
      guards: useful,
      fill,
    };
  }

  #emitMovement(
    scope: Scope,
    node: GraphNode,
    lowering: Lowering<unknown> & { kind: "movement" },
    position: readonly Affine[],
    guards: readonly Guard[],
    atRoot: boolean,
  ): Expr {
    const input = node.inputs[0]!;
    const source = this.fuser.node(input);
    const linear = (): Expr =>
      this.#load(scope, input, scope.forms.address(position, contiguousStrides(node.shape)), guards);
    if (node.op!.name === "reshape" && this.fuser.isRealised(input)) return linear();
    try {
      const { forms, guards: inner = [], fill = 0 } = lowering.place(
        position,
        node.params,
        source,
        scope.forms,
      );
      return this.#placed(scope, input, forms, inner, fill, guards, atRoot);
    } catch (request) {
      if (!(request instanceof NotAffine)) throw request;
      this.fuser.realise(input);
      return node.op!.name === "reshape" ? linear() : this.emit(
        scope,
        input,
        lowering.place(position, node.params, source, scope.forms).forms,
        guards,
        false,
      );
    }
  }

  /** A node read at a placement: `fill` where the placement's own guards fail. */
  #placed(
    scope: Scope,
    place: number,
    position: readonly Affine[],
    inner: readonly Guard[],
    fill: number,
    outer: readonly Guard[],
    atRoot = false,
  ): Expr {
    const useful = usefulGuards(scope.forms, inner);
    const { dtype } = this.fuser.node(place);
    const constant: Expr = { kind: "constant", dtype, value: fill };
    if (useful === undefined) return constant;
    if (useful.length === 0) return this.emit(scope, place, position, outer, atRoot);
    const value = this.emit(scope, place, position, [...outer, ...useful], false);
    if (value.kind === "load" && outer.length === 0) return fill === 0 ? value : { ...value, fill };
    return {
      kind: "select",
      dtype,
      condition: { kind: "inside", dtype: "bool", guards: useful },
      a: value,
      b: constant,
    };
  }

  #absorb(place: number, position: readonly Affine[], value: Expr): Expr {
    this.#absorbed.set(place, { position: JSON.stringify(position), value });
    return value;
  }

  #absorbReduction(
    scope: Scope,
    place: number,
    node: GraphNode,
    lowering: Lowering<unknown> & { kind: "reduction" },
    position: readonly Affine[],
  ): Expr {
    this.#label = node.op!.name;
    this.#time = Math.max(this.#time, place);
    const source = this.fuser.node(node.inputs[0]!);
    const reduced = lowering.axes(node.params);
    const groups = reduced.map((axis) => ({
      key: `reduce ${place} ${axis}`,
      sizes: this.splits.get(`reduce ${place} ${axis}`) ?? [source.shape[axis]!],
    }));
    const first = scope.forms.sizes.length;
    const axes = groups.flatMap((group) => group.sizes);
    const forms = new Forms([...scope.forms.sizes, ...axes]);
    const walk = this.#groupForms(forms, groups, first);
    const widen = (form: Affine): Affine => ({
      offset: form.offset,
      coefficients: [...form.coefficients, ...axes.map(() => 0)],
    });
    let kept = 0;
    const at = source.shape.map((_, axis) =>
      reduced.includes(axis) ? walk[reduced.indexOf(axis)]! : widen(position[kept++]!)
    );
    const before = this.#groups.length;
    this.#groups.push(...groups);
    const value = this.emit(new Scope(forms, false), node.inputs[0]!, at, [], false);
    this.#groups.length = before;
    const stage = this.#stages.push({ combine: lowering.combine, axes, dtype: node.dtype, value }) - 1;
    return { kind: "reduced", dtype: node.dtype, stage };
  }

  #absorbContraction(
    place: number,
    node: GraphNode,
    lowering: Lowering<unknown> & { kind: "contraction" },
    extents: number[][],
  ): Expr {
    this.#label = node.op!.name;
    this.#time = Math.max(this.#time, place);
    const plan = lowering.plan(node.inputs.map((input) => this.fuser.node(input)), node.params);
    const lists: Record<"batch" | "rows" | "columns", number[]> = { batch: [], rows: [], columns: [] };
    for (const list of ["batch", "rows", "columns"] as const) {
      plan[list].forEach((_, index) => {
        const k = plan.output.findIndex((axis) => axis.list === list && axis.index === index);
        if (k >= 0) lists[list].push(...extents[k]!);
      });
    }
    this.#contraction = { place, lists, extents };
    return { kind: "accumulator", dtype: "f32" };
  }
}

/** Forms of the axes in scope, and what has been emitted there. */
class Scope {
  readonly memo = new Map<string, Expr>();
  constructor(readonly forms: Forms, readonly isStore: boolean) {}
}

/** Whether every point of the kernel asks for another element, so that nothing is computed twice. */
function usesEveryAxis(forms: Forms, position: readonly Affine[]): boolean {
  return forms.sizes.every((size, axis) =>
    size <= 1 || position.some((form) => form.coefficients[axis] !== 0)
  ) && points(forms.sizes) > 0;
}

/** For every form the kernel axes that are its digits, if each axis of the kernel belongs to exactly one form. */
function bijection(
  forms: Forms,
  position: readonly Affine[],
  shape: readonly number[],
): number[][] | undefined {
  const owner = new Set<number>();
  const extents: number[][] = [];
  for (const [k, form] of position.entries()) {
    if (form.offset !== 0) return undefined;
    const axes = form.coefficients.flatMap((c, axis) => c !== 0 ? [axis] : []).sort((a, b) =>
      form.coefficients[b]! - form.coefficients[a]!
    );
    if (axes.some((axis) => owner.has(axis))) return undefined;
    axes.forEach((axis) => owner.add(axis));
    const strides = contiguousStrides(axes.map((axis) => forms.sizes[axis]!));
    if (axes.some((axis, j) => form.coefficients[axis] !== strides[j])) return undefined;
    if (points(axes.map((axis) => forms.sizes[axis]!)) !== shape[k]) return undefined;
    extents.push(axes);
  }
  forms.sizes.forEach((size, axis) => {
    if (size === 1 && !owner.has(axis)) owner.add(axis);
  });
  return forms.sizes.every((_, axis) => owner.has(axis)) ? extents : undefined;
}
