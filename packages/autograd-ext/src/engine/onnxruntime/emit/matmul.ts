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
import { binary, broadcastShape } from './builders.js';
import { elementCount } from '../../../params.js';

// Matrix products, of tfjs and of this package.

interface MatMulAttrs {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
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

// x is [N, in], the weight [out, in]: Gemm reads it transposed at no cost.
registerKernelEmitter('Linear', ({ x, weight, bias }) =>
  plainView(gemm(plain(x!), plain(weight!), { transB: true, bias: bias && plain(bias) })),
);

const swapped = (view: View): View => {
  const axes = identityOrder(view.shape.length);
  return transposed(view, [...axes.slice(0, -2), ...axes.slice(-2).reverse()]);
};

/** Computes `a · b + bias` of matrices, a and b transposed on request. */
function gemm(
  a: Value,
  b: Value,
  { transA = false, transB = false, bias }: { transA?: boolean; transB?: boolean; bias?: Value } = {},
): Value {
  const shape = [a.shape[transA ? 1 : 0]!, b.shape[transB ? 0 : 1]!];
  const attributes = { ...(transA && { transA: { int: 1 } }), ...(transB && { transB: { int: 1 } }) };
  return node('Gemm', bias ? [a, b, bias] : [a, b], shape, { attributes });
}

/** Multiplies matrices; batch axes are broadcast. */
function matMul(a: View, b: View): View {
  const isOneMatrix = (view: View) => elementCount(view.shape.slice(0, -2)) === 1;
  const [m, n] = [a.shape.at(-2)!, b.shape.at(-1)!];
  const batch = broadcastShape([a.shape.slice(0, -2), b.shape.slice(0, -2)]);
  if (isOneMatrix(a) && isOneMatrix(b) && dtypeOf(a) === 'float32')
    return plainView(reshaped(matrixProduct(matrix(a), matrix(b)), [...batch, m, n]));
  return plainView(node('MatMul', [plain(a), plain(b)], [...batch, m, n]));
}

function matrixProduct(a: Matrix, b: Matrix): Value {
  if (!a.isTransposed && !b.isTransposed)
    return node('MatMul', [a.value, b.value], [a.value.shape[0]!, b.value.shape[1]!]);
  return gemm(a.value, b.value, { transA: a.isTransposed, transB: b.isTransposed });
}

/** A matrix whose value may be stored transposed, so that no node has to move its elements. */
interface Matrix {
  readonly value: Value;
  readonly isTransposed: boolean;
}

function matrix(view: View): Matrix {
  const [rows, columns] = view.shape.slice(-2) as [number, number];
  const rank = view.shape.length;
  const axes = view.order.filter((axis) => axis >= rank - 2);
  const isTransposed = axes[0] === rank - 1 && rows !== 1 && columns !== 1;
  const value = isTransposed ? ordered(view, [...identityOrder(rank - 2), rank - 1, rank - 2]) : plain(view);
  return { value: reshaped(value, isTransposed ? [columns, rows] : [rows, columns]), isTransposed };
}
