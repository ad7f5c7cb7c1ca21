/**
 * How a contraction is cut up. Everything follows from the kernel alone, so that sums are always taken in
 * the same order.
 *
 * The output is covered by register tiles of a few rows by a few vectors of columns; the operands are packed
 * into panels of the same heights and widths, [panel][inner][position], which the inner loop reads in order.
 * The inner axes are cut into blocks that fit the first-level cache, rows and columns into blocks that fit
 * the second. A chunk is one block of rows by one of columns of one batch item. Where the output is small
 * and the sum long (gradients of weights), the sum is cut into parts that are added in a last phase.
 *
 * @module
 */
import { formsOf } from "../compiler/expression.ts";
import { type Contraction, type Expr, points } from "../compiler/kernel.ts";
import { loadsOf } from "../compiler/expression.ts";
import { allGuards, dependsOn } from "./contraction_axes.ts";
import { type Loop, mergeAxes, numberAxes } from "./expression_axes.ts";
import { aligned } from "./protocol.ts";

/** An operand: what it depends on, and where its panels are made. */
export interface OperandPlan {
  readonly value: Expr;
  /** The batch axes that it depends on, as they are and joined, and their points. */
  readonly batchAxes: readonly Loop[];
  readonly batch: readonly Loop[];
  readonly batches: number;
  /** Its row or column axes. */
  readonly across: readonly Loop[];
  readonly inner: readonly Loop[];
  /** Four values that are neighbours in memory lie along the inner axes. */
  readonly alongInner: boolean;
  /** Read where it lies; packed once, by a phase of its own, into scratch; or by every chunk into its workspace. */
  readonly place: "direct" | "shared" | "own";
  /** If direct: its load, and the bytes from one position and from one inner point to the next. */
  readonly direct: DirectOperand | undefined;
  /** Panels that one chunk of the packing phase makes, and the number of such chunks. */
  readonly panelsPerChunk: number;
  readonly chunks: number;
  /** Offset of the panels in scratch or workspace. */
  readonly offset: number;
}

/** An operand that is one load without guards, of one axis across and one inner axis. */
export interface DirectOperand {
  readonly load: Expr & { readonly kind: "load" };
  readonly positionBytes: number;
  readonly innerBytes: number;
}

/** Rows or columns with their operand. */
interface Side {
  readonly axes: readonly Loop[];
  readonly value: Expr;
}

/** A partition of panels into blocks of nearly equal size. */
export interface Blocks {
  readonly panels: number;
  readonly blocks: number;
}

/** The schedule of a contraction. Rows and columns may be those of the kernel, or exchanged. */
export interface ContractionPlan {
  readonly batches: number;
  readonly rows: number;
  readonly columns: number;
  readonly inner: number;
  /** Rows of a tile: the first `tall` row panels have `height` rows, the others one less. */
  readonly height: number;
  readonly tall: number;
  /** Columns of a tile, a multiple of 4. */
  readonly width: number;
  readonly rowBlocks: Blocks;
  readonly columnBlocks: Blocks;
  /** Column panels whose tiles are computed, and their results stored, before the next row panel. */
  readonly strip: number;
  /** Parts of the sum, inner points of a part, and of a block within a part. */
  readonly parts: number;
  readonly partDepth: number;
  readonly depth: number;
  /** Most products that are added up in registers before they are added to the sums in memory. */
  readonly chain: number;
  /** Where the sums of a part are added to totals in float64 after every `carriedBlocks` blocks: the offset of these in the workspace. */
  readonly totals: number | undefined;
  readonly left: OperandPlan;
  readonly right: OperandPlan;
  /** Axes as the stores see them. */
  readonly storeBatch: readonly Loop[];
  readonly storeRows: readonly Loop[];
  readonly storeColumns: readonly Loop[];
  /** Offset of the unfinished tiles: in scratch if there are several parts, else in the workspace. */
  readonly tiles: number;
  readonly phases: readonly number[];
  readonly scratchBytes: number;
  readonly workspaceBytes: number;
}

const innerBlock = 512;
/** Blocks of a part after which its sums are carried over to float64. */
export const carriedBlocks = 4;
const firstLevelBytes = 24 * 1024;
const mostPanelsOfStrip = 16;
const secondLevelBytes = 256 * 1024;
const sharedLimitBytes = 64 * 1024 * 1024;
/** Chunks wanted at least, so that many threads have work. */
const wantedChunks = 24;
/** Products of a chunk below which cutting gains nothing. */
const smallestChunk = 2 ** 18;
/** Storing a result that is no neighbour of the last one takes as long as so many products. */
const scatteredStore = 64;
/** Vectors of columns per tile for each height, so that sums, columns and one row value fit 16 registers. */
const vectorsPerHeight = [0, 8, 4, 3, 2, 2];

/** Decides the schedule. */
export function planContraction(kernel: Contraction): ContractionPlan {
  const groups = axesOf(kernel);
  const given: [Side, Side] = [
    { axes: groups.rows, value: kernel.left },
    { axes: groups.columns, value: kernel.right },
  ];
  const [down, over] = prefersExchange(kernel, groups) ? [given[1], given[0]] : given;
  const [batches, inner] = [points(kernel.batch), points(kernel.inner)];
  const [rows, columns] = [product(down.axes), product(over.axes)];

  const leftDirect = readableLeft(down, groups.inner, rows, columns);
  const rowPanels = Math.ceil(rows / (leftDirect ? 4 : 5));
  const height = Math.ceil(rows / Math.max(rowPanels, 1));
  const tall = rows - rowPanels * (height - 1);
  const width = 4 * Math.min(vectorsPerHeight[height]!, Math.ceil(columns / 4));
  const columnPanels = width === 0 ? 0 : Math.ceil(columns / width);
  const cut = cutIntoBlocks({ batches, rowPanels, columnPanels, height, width, inner });
  const { rowBlocks, columnBlocks, parts, partDepth, depth } = cut;

  const [scratch, workspace] = [new Layout(), new Layout()];
  const operand = (side: Side, direct: DirectOperand | undefined, size: number, own: Blocks, other: Blocks) =>
    planOperand(side, direct, { groups, batches, inner, depth, size, own, other, scratch, workspace });
  const left = operand(down, leftDirect, height, rowBlocks, columnBlocks);
  const right = operand(over, readableRight(over, groups.inner, rowPanels), width, columnBlocks, rowBlocks);

  const tileBytes = height * width * 4;
  const columnsOfBlock = Math.ceil(columnPanels / columnBlocks.blocks);
  // The columns of a strip stay in the first-level cache while all row panels pass.
  const fitting = Math.floor(firstLevelBytes / Math.max(1, depth * width * 4));
  const strip = parts > 1 ? 1 : Math.max(1, Math.min(fitting, mostPanelsOfStrip, columnsOfBlock));
  const allTiles = batches * rowPanels * columnPanels;
  // The sums of a strip wait in the workspace for its end, or those of a whole block for the next block of the
  // sum; or, in scratch, for the other parts, which are added in the workspace.
  const rowsOfBlock = Math.ceil(rowPanels / rowBlocks.blocks) * height * Math.ceil(columnsOfBlock / strip);
  const waitingRows = depth < partDepth && parts === 1 ? rowsOfBlock : height;
  const waiting = workspace.reserve(waitingRows * strip * width * 4);
  const isCarried = partDepth > carriedBlocks * depth;
  const totals = isCarried ? workspace.reserve(rowsOfBlock * strip * width * 8) : undefined;
  const tiles = parts > 1 ? scratch.reserve(parts * allTiles * tileBytes) : waiting;
  const storeForms = [
    ...formsOf(...kernel.stores.map(({ value }) => value)),
    ...kernel.stores.map(({ at }) => at),
  ];
  return {
    batches,
    rows,
    columns,
    inner,
    height,
    tall,
    width,
    ...cut,
    chain: inner > depth ? 64 : 128,
    totals,
    strip,
    left,
    right,
    storeBatch: mergeAxes(groups.batch, storeForms),
    storeRows: mergeAxes(down.axes, storeForms),
    storeColumns: mergeAxes(over.axes, storeForms),
    tiles,
    phases: [
      ...(left.chunks + right.chunks > 0 ? [left.chunks + right.chunks] : []),
      batches * rowBlocks.blocks * columnBlocks.blocks * parts,
      ...(parts > 1 ? [allTiles] : []),
    ],
    scratchBytes: scratch.bytes,
    workspaceBytes: workspace.bytes,
  };
}

/** Hands out aligned places one after another. */
class Layout {
  bytes = 0;

  reserve(bytes: number): number {
    this.bytes += aligned(bytes);
    return this.bytes - aligned(bytes);
  }
}

/** Cuts rows, columns and sum so that blocks fit the caches and there are enough chunks. */
function cutIntoBlocks(
  shape: {
    readonly batches: number;
    readonly rowPanels: number;
    readonly columnPanels: number;
    readonly height: number;
    readonly width: number;
    readonly inner: number;
  },
): Pick<ContractionPlan, "rowBlocks" | "columnBlocks" | "parts" | "partDepth" | "depth"> {
  const { batches, rowPanels, columnPanels, height, width, inner } = shape;
  const firstDepth = depthOf(inner);
  const panelsIn = (size: number): number =>
    Math.max(1, Math.floor(secondLevelBytes / (firstDepth * size * 4)));
  let rowBlocks = blocks(rowPanels, Math.ceil(rowPanels / panelsIn(height)));
  let columnBlocks = blocks(columnPanels, Math.ceil(columnPanels / panelsIn(width)));
  const count = (): number => batches * rowBlocks.blocks * columnBlocks.blocks;
  let parts = 1;
  if (count() > 0 && count() < wantedChunks / 2 && inner >= 4 * innerBlock) {
    parts = Math.min(Math.ceil(wantedChunks / count()), Math.floor(inner / innerBlock));
  }
  const partDepth = Math.ceil(inner / parts);
  while (count() > 0 && count() * parts < wantedChunks) {
    const [down, over] = [rowPanels / rowBlocks.blocks, columnPanels / columnBlocks.blocks];
    const products = down * height * over * width * partDepth;
    if (products < 2 * smallestChunk || Math.max(down, over) < 4) break;
    if (over * width >= down * height) columnBlocks = blocks(columnPanels, columnBlocks.blocks * 2);
    else rowBlocks = blocks(rowPanels, rowBlocks.blocks * 2);
  }
  return { rowBlocks, columnBlocks, parts, partDepth, depth: depthOf(partDepth) };
}

/** Inner points of a block: a sum that is a little too long is not cut. */
function depthOf(inner: number): number {
  return inner <= 1.25 * innerBlock ? inner : Math.ceil(inner / Math.ceil(inner / innerBlock));
}

function planOperand(
  { value, axes }: Side,
  direct: DirectOperand | undefined,
  surroundings: {
    readonly groups: Groups;
    readonly batches: number;
    readonly inner: number;
    readonly depth: number;
    readonly size: number;
    readonly own: Blocks;
    readonly other: Blocks;
    readonly scratch: Layout;
    readonly workspace: Layout;
  },
): OperandPlan {
  const { groups, batches, inner, depth, size, own, other, scratch, workspace } = surroundings;
  const forms = formsOf(value);
  const batchAxes = groups.batch.filter(({ axis }) => dependsOn(forms, axis));
  const ownBatches = product(batchAxes);
  const bytes = ownBatches * own.panels * size * inner * 4;
  const reused = other.blocks > 1 || ownBatches < batches;
  const place = direct ? "direct" : reused && bytes <= sharedLimitBytes ? "shared" : "own";
  const panelsPerChunk = Math.max(1, Math.round(16384 / Math.max(1, inner * size)));
  const [across, innerAxes] = [mergeAxes(axes, forms), mergeAxes(groups.inner, forms)];
  const blockBytes = Math.ceil(own.panels / own.blocks) * size * depth * 4;
  return {
    value,
    batchAxes,
    batch: mergeAxes(batchAxes, forms),
    batches: ownBatches,
    across,
    inner: innerAxes,
    alongInner: prefersInner(value, across, innerAxes),
    place,
    direct,
    panelsPerChunk,
    chunks: place === "shared" ? ownBatches * Math.ceil(own.panels / panelsPerChunk) : 0,
    offset: direct ? 0 : place === "shared" ? scratch.reserve(bytes) : workspace.reserve(blockBytes),
  };
}

type Groups = Record<"batch" | "rows" | "columns" | "inner", Loop[]>;

/** The axes of each group under their numbers in affine forms. */
function axesOf({ batch, rows, columns, inner }: Contraction): Groups {
  const [b, r, c] = [batch.length, rows.length, columns.length];
  return {
    batch: numberAxes(batch, 0),
    rows: numberAxes(rows, b),
    columns: numberAxes(columns, b + r),
    inner: numberAxes(inner, b + r + c),
  };
}

/**
 * Whether the roles of rows and columns are better exchanged: vectors run along columns, so a number of them that
 * is no multiple of a tile's width wastes products, and results that are no neighbours along them are stored one
 * by one.
 */
function prefersExchange(kernel: Contraction, groups: Groups): boolean {
  const [rows, columns] = [product(groups.rows), product(groups.columns)];
  if (columns < 4 && rows >= 2 * columns) return true;
  if (rows < 4) return false;
  const cost = (down: number, over: number, axes: readonly Loop[]): number => {
    const width = Math.min(8, 4 * Math.ceil(over / 4));
    const products = down * Math.ceil(over / width) * width * points(kernel.inner);
    const last = axes.findLast(({ size }) => size !== 1);
    const scattered = kernel.stores.filter(({ at }) => last && at.coefficients[last.axis] !== 1).length;
    return products + scattered * down * over * scatteredStore;
  };
  return cost(columns, rows, groups.rows) < cost(rows, columns, groups.columns);
}

/** The left operand, if it is better read where it lies: in rows, where few columns would repay packing. */
function readableLeft(
  side: Side,
  inner: readonly Loop[],
  rows: number,
  columns: number,
): DirectOperand | undefined {
  const direct = directOperand(side, inner);
  if (direct?.innerBytes !== 4) return undefined;
  // Rows a multiple of the page size apart hinder each other in the cache.
  const aliased = rows > 1 && direct.positionBytes % 4096 === 0;
  return columns <= (aliased ? 16 : 192) ? direct : undefined;
}

/** The right operand, if it is better read where it lies: every value is used once or twice. */
function readableRight(
  side: Side,
  inner: readonly Loop[],
  rowPanels: number,
): DirectOperand | undefined {
  const direct = directOperand(side, inner);
  return direct?.positionBytes === 4 && rowPanels <= 2 ? direct : undefined;
}

function directOperand({ value, axes }: Side, innerAxes: readonly Loop[]): DirectOperand | undefined {
  if (value.kind !== "load" || value.dtype !== "f32" || value.guards.length > 0) return undefined;
  const forms = formsOf(value);
  const [across, inner] = [mergeAxes(axes, forms), mergeAxes(innerAxes, forms)];
  if (across.length > 1 || inner.length > 1) return undefined;
  const bytes = ([axis]: readonly Loop[]): number => 4 * (axis ? value.at.coefficients[axis.axis] ?? 0 : 0);
  const [positionBytes, innerBytes] = [bytes(across), bytes(inner)];
  return positionBytes < 0 || innerBytes < 0 ? undefined : { load: value, positionBytes, innerBytes };
}

/** Whether packing is cheaper with vectors along the inner axes than with vectors across. */
function prefersInner(value: Expr, across: readonly Loop[], inner: readonly Loop[]): boolean {
  const last = { across: across.at(-1), inner: inner.at(-1) };
  if (!last.across || !last.inner) return !last.across;
  const strided = ({ axis }: Loop): boolean =>
    loadsOf(value).some(({ at }) => ![0, 1].includes(at.coefficients[axis] ?? 0));
  const guards = ({ axis }: Loop): number =>
    allGuards([value]).filter(({ form }) => (form.coefficients[axis] ?? 0) !== 0).length;
  // Roughly the instructions per value. Across, short lines seldom hold a whole panel.
  const { size } = last.across;
  const lines = size % 8 === 0 ? 2 : size >= 64 ? 3 : size >= 16 ? 5 : 12;
  const costAcross = lines + (strided(last.across) ? 5 : 0) + guards(last.across) / 4;
  const costInner = Math.max(3, 12 / last.inner.size) + (strided(last.inner) ? 5 : 0) +
    guards(last.inner) / 2;
  return costInner < costAcross;
}

function blocks(panels: number, count: number): Blocks {
  return { panels, blocks: Math.min(Math.max(count, 1), Math.max(panels, 1)) };
}

function product(axes: readonly Loop[]): number {
  return points(axes.map(({ size }) => size));
}
