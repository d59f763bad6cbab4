// LoRA on a model of one's own, without diffusion: a frozen network learns another function by an adapter on its two
// matrices, which is saved in peft's layout to out/own-lora and applied again.
import { linear, random, randn, silu, trainable, useBackend, vjp, type Matrix } from '@alignprop/autograd-ext';
import { addLora, applyLora, loadLora, loraTensors, saveLora } from '@alignprop/lora';
import { dispose, losses, mul, sub, tidy, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';

await useBackend('wasm');
interface Network {
  readonly up: { readonly weight: Matrix };
  readonly down: { readonly weight: Matrix };
}
const network = (params: unknown, x: Tensor) => {
  const { up, down } = params as Network;
  return linear(silu(linear(x, up.weight)), down.weight); // [B, 4]
};

const generator = random(0); // the numbers of torch.manual_seed(0)
const base = { up: { weight: randn(generator, [16, 4]) }, down: { weight: randn(generator, [4, 16]) } }; // [out, in]
const x = randn(generator, [32, 4]) as Tensor2D;
const wanted = tidy(() => mul(network(base, x), 0.5)); // the adapter is to halve the output

const adapted = addLora(base, { r: 2, loraAlpha: 2, targetModules: ['up', 'down'] }, generator);
const loss = (params: unknown) => losses.meanSquaredError(wanted, network(params, x));
const before = tidy(() => loss(adapted).dataSync()[0]!);
for (let step = 0; step < 200; step++)
  tidy(() => {
    const { params: gradients } = vjp((params) => loss(params), adapted, []);
    for (const [name, variable] of Object.entries(trainable(adapted)))
      variable.assign(sub(variable, mul(gradients[name]!, 0.02)));
  });
const after = tidy(() => loss(adapted).dataSync()[0]!);

await saveLora('out/own-lora', adapted, { format: 'peft' });
const restored = await applyLora(base, await loadLora('out/own-lora'));
const again = tidy(() => loss(restored).dataSync()[0]!);
console.log(`loss ${before.toFixed(3)} before, ${after.toFixed(3)} after, ${again.toFixed(3)} from the file`);
dispose([base, loraTensors(adapted), loraTensors(restored)]);
