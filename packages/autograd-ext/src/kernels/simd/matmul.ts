import {
  addI,
  get,
  i32,
  ifElse,
  int,
  lessI,
  loopWhile,
  mulI,
  set,
  v128,
  vec,
  type Code,
  type WasmFunction,
} from './assembler.js';

const [a, aRow, aColumn, b, bRow, c, cRow, rows, columns, depth, accumulate] = [
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
] as const;
const [i, j, k, pb, pc] = [11, 12, 13, 14, 15] as const;
const pa = (row: number) => 16 + row;
const acc = (row: number, v: number) => 20 + row * 2 + v;
const vb = (v: number) => 28 + v;
const va = 30;

/**
 * `C = A · B`, or `C += A · B`: parameters a, aRow, aColumn, b, bRow, c, cRow, rows, columns, depth, accumulate (0 or
 * 1). All strides are in bytes; A is read element by element, so that it may be transposed, B and C four columns at a
 * time: the number of columns must be a multiple of 4. Tiles of 4 rows and 8 columns stay in registers.
 */
export const matmul: WasmFunction = {
  name: 'matmul',
  params: Array<typeof i32>(11).fill(i32),
  locals: [...Array<typeof i32>(9).fill(i32), ...Array<typeof v128>(11).fill(v128)],
  body: [
    set(i, int(0)),
    loopWhile(lessI(get(i), get(rows)), [ifElse(lessI(addI(get(i), int(3)), get(rows)), rowOfTiles(4), rowOfTiles(1))]),
  ],
};

function rowOfTiles(height: number): Code {
  return [
    set(j, int(0)),
    loopWhile(lessI(get(j), get(columns)), [
      ifElse(lessI(addI(get(j), int(7)), get(columns)), tile(height, 2), tile(height, 1)),
    ]),
    set(i, addI(get(i), int(height))),
  ];
}

function tile(height: number, width: number): Code {
  const cells = Array.from({ length: height * width }, (_, n) => [Math.floor(n / width), n % width] as const);
  const rowsOf = (fn: (row: number) => Code) => Array.from({ length: height }, (_, row) => fn(row));
  const columnsOf = (fn: (v: number) => Code) => Array.from({ length: width }, (_, v) => fn(v));
  const place = (row: number) => addI(get(pc), mulI(int(row), get(cRow)));
  const column = mulI(get(j), int(4));
  return [
    set(pc, addI(get(c), addI(mulI(get(i), get(cRow)), column))),
    set(pb, addI(get(b), column)),
    rowsOf((row) => set(pa(row), addI(get(a), mulI(addI(get(i), int(row)), get(aRow))))),
    ifElse(
      get(accumulate),
      cells.map(([row, v]) => set(acc(row, v), vec.load(place(row), 16 * v))),
      cells.map(([row, v]) => set(acc(row, v), vec.constant(0))),
    ),
    set(k, int(0)),
    loopWhile(lessI(get(k), get(depth)), [
      columnsOf((v) => set(vb(v), vec.load(get(pb), 16 * v))),
      rowsOf((row) => [
        set(va, vec.loadSplat(get(pa(row)))),
        columnsOf((v) => set(acc(row, v), vec.add(get(acc(row, v)), vec.mul(get(va), get(vb(v)))))),
        set(pa(row), addI(get(pa(row)), get(aColumn))),
      ]),
      set(pb, addI(get(pb), get(bRow))),
      set(k, addI(get(k), int(1))),
    ]),
    cells.map(([row, v]) => vec.store(place(row), get(acc(row, v)), 16 * v)),
    set(j, addI(get(j), int(4 * width))),
  ];
}
