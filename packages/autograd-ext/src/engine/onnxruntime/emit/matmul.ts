import { node, type Value } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import {
  dtypeOf,
  identityOrder,
  ordered,
  plain,
  plainView,
  reshaped,
  transposed,
  type View,
} from '../recorder/view.js';
import { activated, type FusedActivation } from './activation.js';
import { binary, broadcastShape } from './elementwise.js';
import { elementCount } from '../../../params.js';

interface MatMulAttrs {
  transposeA: boolean;
  transposeB: boolean;
}

registerKernelEmitter<MatMulAttrs>('BatchMatMul', ({ a, b }, { transposeA, transposeB }) =>
  matMul(transposeA ? swapped(a!) : a!, transposeB ? swapped(b!) : b!),
);
registerKernelEmitter<MatMulAttrs & FusedActivation>(
  '_FusedMatMul',
  ({ a, b, bias, preluActivationWeights }, { transposeA, transposeB, ...attrs }) => {
    const product = matMul(transposeA ? swapped(a!) : a!, transposeB ? swapped(b!) : b!);
    return activated(bias ? binary('Add', [product, bias]) : product, attrs, preluActivationWeights);
  },
);

// x [N, in], weight [out, in], as they lie: `transB` costs nothing.
registerKernelEmitter('Linear', ({ x, weight, bias }) =>
  plainView(gemm(plain(x!), plain(weight!), { transB: true, bias: bias && plain(bias) })),
);

const swapped = (view: View): View => {
  const axes = identityOrder(view.shape.length);
  return transposed(view, [...axes.slice(0, -2), ...axes.slice(-2).reverse()]);
};

/** `a · bᵀ + bias` or `a · b + bias` of matrices. */
export function gemm(
  a: Value,
  b: Value,
  { transA = false, transB = false, bias }: { transA?: boolean; transB?: boolean; bias?: Value } = {},
): Value {
  const shape = [a.shape[transA ? 1 : 0]!, b.shape[transB ? 0 : 1]!];
  const attributes = { ...(transA && { transA: { int: 1 } }), ...(transB && { transB: { int: 1 } }) };
  return node('Gemm', bias ? [a, b, bias] : [a, b], shape, { attributes });
}

/** A product of matrices, batches broadcast. */
export function matMul(a: View, b: View): View {
  const isOneMatrix = (view: View) => elementCount(view.shape.slice(0, -2)) === 1;
  const [m, n] = [a.shape.at(-2)!, b.shape.at(-1)!];
  const batch = broadcastShape([a.shape.slice(0, -2), b.shape.slice(0, -2)]);
  if (isOneMatrix(a) && isOneMatrix(b) && dtypeOf(a) === 'float32')
    return plainView(reshaped(matrixProduct(matrix(a), matrix(b)), [...batch, m, n]));
  return plainView(node('MatMul', [plain(a), plain(b)], [...batch, m, n]));
}

function matrixProduct(a: Matrix, b: Matrix): Value {
  if (!a.flipped && !b.flipped) return node('MatMul', [a.value, b.value], [a.value.shape[0]!, b.value.shape[1]!]);
  return gemm(a.value, b.value, { transA: a.flipped, transB: b.flipped });
}

/** A matrix as it lies, rows first or columns first. */
interface Matrix {
  readonly value: Value;
  readonly flipped: boolean;
}

function matrix(view: View): Matrix {
  const [rows, columns] = view.shape.slice(-2) as [number, number];
  const rank = view.shape.length;
  const axes = view.order.filter((axis) => axis >= rank - 2);
  const flipped = axes[0] === rank - 1 && rows !== 1 && columns !== 1;
  const value = flipped ? ordered(view, [...identityOrder(rank - 2), rank - 1, rank - 2]) : plain(view);
  return { value: reshaped(value, flipped ? [columns, rows] : [rows, columns]), flipped };
}
