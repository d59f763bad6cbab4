"""The peer: one AlignProp optimizer step as TRL does it (diffusers + peft + torch), timed.

  python tools/bench/torch_step.py --model DIR|sd15|sd-turbo|sdxl [--size 64] [--steps 50] [--attach last:1|all|mask:i,j,...]
      [--batch 1] [--dtype fp32|bf16] [--no-checkpoint] [--reps 1] [--guidance 5] [--scheduler ddim|euler]
      [--tiny-decoder]
Few-step models: --scheduler euler (trailing timesteps) --steps 1 --guidance 0 (one UNet row).
--tiny-decoder is a TAESD of random weights.
Needs torch, diffusers, transformers and peft. OMP_NUM_THREADS sets the threads.
Prints one JSON line: seconds per step (min), seconds of one no-grad UNet call (CFG batch), of an image of --steps steps, peak RSS in GB, reward.
Follows TRL: all T denoise steps in grad mode, UNet checkpointed as one segment (use_reentrant=False), noise_pred detached where
not attached, VAE decode with gradient, loss 10 - mean(reward), clip 1.0, AdamW. Reward: mean(image * fixed pattern) (costs nothing).
"""
import argparse, json, resource, sys, time
import torch, torch.utils.checkpoint as cp
ap = argparse.ArgumentParser()
ap.add_argument("--model", required=True); ap.add_argument("--size", type=int, default=0); ap.add_argument("--steps", type=int, default=50)
ap.add_argument("--attach", default="last:1"); ap.add_argument("--batch", type=int, default=1); ap.add_argument("--dtype", default="fp32")
ap.add_argument("--no-checkpoint", action="store_true"); ap.add_argument("--reps", type=int, default=1); ap.add_argument("--guidance", type=float, default=5.0)
ap.add_argument("--scheduler", choices=["ddim", "euler"], default="ddim")
ap.add_argument("--tiny-decoder", action="store_true")
ap.add_argument("--only", choices=["unet", "image", "step"], default="step")
a = ap.parse_args()
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel, StableDiffusionPipeline
from diffusers import DDIMScheduler, EulerDiscreteScheduler
from peft import LoraConfig
dt = {"fp32": torch.float32, "bf16": torch.bfloat16}[a.dtype]
torch.manual_seed(0)
if a.model in ("sd15", "sd-turbo"):
    width = 768 if a.model == "sd15" else 1024
    heads = dict(attention_head_dim=8) if a.model == "sd15" else dict(attention_head_dim=(5, 10, 20, 20), use_linear_projection=True)
    unet = UNet2DConditionModel(sample_size=64, layers_per_block=2, block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=width, **heads,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3)
    vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    sched = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    ctx = torch.randn(1, 77, width); unc = torch.randn(1, 77, width)
elif a.model == "sdxl":
    unet = UNet2DConditionModel(
        sample_size=64, layers_per_block=2, block_out_channels=(320, 640, 1280), cross_attention_dim=2048,
        attention_head_dim=(5, 10, 20), transformer_layers_per_block=(1, 2, 10), use_linear_projection=True,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",), addition_embed_type="text_time",
        addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, scaling_factor=0.13025,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    sched = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    ctx = torch.randn(1, 77, 2048); unc = torch.randn(1, 77, 2048)
else:
    pipe = StableDiffusionPipeline.from_pretrained(a.model, safety_checker=None, torch_dtype=torch.float32)
    unet, vae, sched = pipe.unet, pipe.vae, DDIMScheduler.from_config(pipe.scheduler.config)
    enc = lambda s: pipe.text_encoder(pipe.tokenizer(s, padding="max_length", max_length=pipe.tokenizer.model_max_length, truncation=True, return_tensors="pt").input_ids)[0].detach()
    ctx, unc = enc("crab"), enc("")
if a.tiny_decoder: vae = AutoencoderTiny()
is_euler = a.scheduler == "euler"
if is_euler: sched = EulerDiscreteScheduler.from_config(sched.config, timestep_spacing="trailing")
for m in (unet, vae): m.requires_grad_(False); m.to(dt)
unet.add_adapter(LoraConfig(r=4, lora_alpha=4, init_lora_weights="gaussian", target_modules=["to_k", "to_q", "to_v", "to_out.0"]))
lora = [p for p in unet.parameters() if p.requires_grad]
for p in lora: p.data = p.data.float() if dt == torch.float32 else p.data.to(dt)
opt = torch.optim.AdamW(lora, lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-4, eps=1e-8)
T, B, w = a.steps, a.batch, a.guidance
att = set(range(T)) if a.attach == "all" else set(range(T - int(a.attach[5:]), T)) if a.attach.startswith("last:") else {int(i) for i in a.attach[5:].split(",")}
S = a.size or unet.config.sample_size
guided = w > 1; rows = 2 if guided else 1
emb = torch.cat([unc.expand(B, -1, -1), ctx.expand(B, -1, -1)][2 - rows:]).to(dt)
added = None
if a.model == "sdxl":
    size = 8.0 * S
    time_ids = torch.tensor([[size, size, 0, 0, size, size]] * rows * B).to(dt)
    added = dict(text_embeds=torch.randn(rows * B, 1280).to(dt), time_ids=time_ids)
def noise(z, t): return unet(z, t, emb, added_cond_kwargs=added)[0]
def guide(e):
    if not guided: return e
    u, c = e.chunk(2); return u + w * (c - u)
sched.set_timesteps(T); gap = sched.config.num_train_timesteps // T
with torch.no_grad():
    z = torch.randn(rows * B, 4, S, S).to(dt); noise(z, 500)
    t0 = time.perf_counter(); noise(z, 500); fwd = time.perf_counter() - t0
def image():
    sched.set_timesteps(T); x = (torch.randn(B, 4, S, S) * sched.init_noise_sigma).to(dt)
    with torch.no_grad():
        for t in sched.timesteps:
            x = sched.step(guide(noise(torch.cat([sched.scale_model_input(x, t)] * rows), t)), t, x).prev_sample
        return vae.decode(x / vae.config.scaling_factor).sample
if a.only != "step":
    best = fwd
    if a.only == "image":
        best = 1e9
        for _ in range(a.reps): t0 = time.perf_counter(); image(); best = min(best, time.perf_counter() - t0)
    print(json.dumps(dict(model=a.model, only=a.only, steps=T, batch=B, seconds=round(best, 3), peak_rss_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)))); sys.exit()
def step():
    sched.set_timesteps(T); x = (torch.randn(B, 4, S, S) * sched.init_noise_sigma).to(dt)
    for i, t in enumerate(sched.timesteps):
        inp = torch.cat([sched.scale_model_input(x, t)] * rows)
        e = noise(inp, t) if a.no_checkpoint else cp.checkpoint(lambda q: noise(q, t), inp, use_reentrant=False)
        if i not in att: e = e.detach()
        e = guide(e)
        if is_euler: x = sched.step(e, t, x).prev_sample; continue
        at = sched.alphas_cumprod[t]; ap_ = sched.alphas_cumprod[max(int(t) - gap, 0)]
        var = (1 - ap_) / (1 - at) * (1 - at / ap_); sg = var.sqrt()
        x0 = (x - (1 - at).sqrt() * e) / at.sqrt(); x = (ap_.sqrt() * x0 + (1 - ap_ - sg**2).sqrt() * e + sg * torch.randn_like(x)).to(dt)
    im = (vae.decode(x / vae.config.scaling_factor).sample.float() * 0.5 + 0.5).clamp(0, 1)
    g = torch.linspace(0, 1, im.shape[-1]); r = (im * g).mean((1, 2, 3)); loss = 10 - r.mean()
    opt.zero_grad(); loss.backward(); torch.nn.utils.clip_grad_norm_(lora, 1.0); opt.step(); return r.mean().item()
best = 1e9
for _ in range(a.reps): t0 = time.perf_counter(); r = step(); best = min(best, time.perf_counter() - t0)
print(json.dumps(dict(model=a.model, size=S, steps=T, attached=len(att), batch=B, dtype=a.dtype, scheduler=a.scheduler,
    guidance=w, tiny_decoder=a.tiny_decoder, checkpoint=not a.no_checkpoint, step_s=round(best, 3),
    unet_fwd_s=round(fwd, 4),
    peak_rss_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2), reward=r)))
