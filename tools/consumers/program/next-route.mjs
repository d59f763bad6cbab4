/* global Response */
import { createEngine } from '@alignprop/autograd-ext';
import { drawAndTrain } from '../../draw-and-train.mjs';

export const dynamic = 'force-dynamic';

export async function GET() {
  const results = await drawAndTrain(process.env.MODEL);
  return Response.json({ results, engine: (await createEngine()).name });
}
