"""peer.py attention|train|train-large FILE: PyTorch beside bench.c, with the same shapes and masks: fused attention
with the dense mask, torch.compile, bf16, fused AdamW. PEER_DEVICE=cpu with ATELIER_BENCH=small tries it anywhere."""
import json
import os
import sys
import time

import torch
import torch.nn.functional as F

DEVICE = os.environ.get("PEER_DEVICE", "cuda")
SMALL = os.environ.get("ATELIER_BENCH") == "small"
SECONDS = 0 if SMALL else 0.5
REAL = dict(head=64, vocab=16384, text=256, codes=8192, grid=32, kernel=11)
SIZES = dict(head=64, vocab=40, text=7, codes=48, grid=3, kernel=3) if SMALL else REAL
MODELS = {  # layers, heads, batch: those of bench.c
    "train": ("prior of 100 M", *((3, 1, 2) if SMALL else (12, 12, 32))),
    "train-large": ("prior of 1.3 G", *((4, 2, 1) if SMALL else (24, 32, 16))),
}


def mask_of(kind, device):
    """What a state (row) sees: MODELS.md, 2; the prefix is the start and the text."""
    grid, prefix, half = SIZES["grid"], SIZES["text"] + 1, SIZES["kernel"] // 2
    states = SIZES["text"] + grid * grid
    i = torch.arange(states, device=device)
    causal = i[None, :] <= i[:, None]
    if kind in ("no mask", "causal"):
        return None if kind == "no mask" else causal
    p, q = (i - prefix)[:, None], (i - prefix)[None, :]
    if kind == "row":
        near = q >= p - grid
    elif kind == "column":
        near = (p - q) % grid == 0
    else:
        # q = p - dr grid + dc with dr in 0 .. half and dc in -half .. half
        near = torch.zeros_like(causal)
        for dr in range(half + 1):
            near |= (q - p + dr * grid).abs() <= half
    return causal & ((q < 0) | (p < 0) | near)


def finish():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds_of(call):
    call()
    finish()
    start = time.perf_counter()
    call()
    finish()
    one = time.perf_counter() - start
    calls = 1 + int(SECONDS / one)
    start = time.perf_counter()
    for _ in range(calls):
        call()
    finish()
    return (time.perf_counter() - start) / calls


def result(path, section, what, **numbers):
    print(f"{section:<15} {what:<29}", *(f"  {k} {v:.4g}" for k, v in numbers.items()))
    with open(path, "a", encoding="utf-8") as out:
        print(json.dumps({"section": section, "what": what, **numbers}), file=out)


def attention(path):
    heads, batch = (2, 1) if SMALL else (32, 8)
    states = SIZES["text"] + SIZES["grid"] ** 2
    shape = (batch, heads, states, SIZES["head"])
    q, k, v = (torch.randn(shape, device=DEVICE, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    gradient = torch.randn(shape, device=DEVICE, dtype=torch.bfloat16)
    for kind in ("no mask", "causal", "row", "column", "conv"):
        mask = mask_of(kind, DEVICE)
        causal = kind == "causal"  # which it has a kernel of its own for
        call = lambda: F.scaled_dot_product_attention(q, k, v, None if causal else mask, is_causal=causal)
        with torch.no_grad():
            forward = seconds_of(call)
        out = call()
        backward = seconds_of(lambda: torch.autograd.grad(out, (q, k, v), gradient, retain_graph=True))
        result(path, "torch attention", kind, **{"forward ms": forward * 1e3, "backward ms": backward * 1e3})


class Block(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.qkv, self.proj = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.fc1, self.fc2 = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x, mask):
        n, states, width = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(n, states, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.proj(y.transpose(1, 2).reshape(n, states, width))
        return x + self.fc2(F.gelu(self.fc1(self.ln2(x)), approximate="tanh"))


class Prior(torch.nn.Module):
    def __init__(self, layers, heads):
        super().__init__()
        s, width = SIZES, heads * SIZES["head"]
        self.text = torch.nn.Embedding(s["vocab"] + s["text"] + 1, width)  # a padding for each position, and the start
        self.image = torch.nn.Embedding(s["codes"], width)
        self.places = torch.nn.Parameter(torch.zeros(s["text"] + s["grid"] ** 2, width))
        self.blocks = torch.nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln = torch.nn.LayerNorm(width)
        self.text_head = torch.nn.Linear(width, s["vocab"] + s["text"])
        self.image_head = torch.nn.Linear(width, s["codes"])
        self.kinds = ["conv" if i == layers - 1 else "column" if i % 4 == 1 else "row" for i in range(layers)]

    def forward(self, text, image, masks):
        t = SIZES["text"]
        x = torch.cat([self.text(text), self.image(image[:, :-1])], 1) + self.places
        for block, kind in zip(self.blocks, self.kinds):
            x = block(x, masks[kind])
        x = self.ln(x)
        text_loss = F.cross_entropy(self.text_head(x[:, :t]).float().flatten(0, 1), text[:, 1:].flatten())
        image_loss = F.cross_entropy(self.image_head(x[:, t:]).float().flatten(0, 1), image.flatten())
        return text_loss / 8 + image_loss * 7 / 8


def train(path, which):
    what, layers, heads, batch = MODELS[which]
    model = Prior(layers, heads).to(DEVICE, torch.bfloat16)
    masks = {kind: mask_of(kind, DEVICE) for kind in ("row", "column", "conv")}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.96), weight_decay=0.045, fused=True)
    text = torch.randint(SIZES["vocab"], (batch, SIZES["text"] + 1), device=DEVICE)
    image = torch.randint(SIZES["codes"], (batch, SIZES["grid"] ** 2), device=DEVICE)
    if not SMALL:
        for block in model.blocks:  # compiled once for all, in seconds
            block.compile()

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = model(text, image, masks)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 4)
        optimizer.step()

    seconds = seconds_of(step)
    parameters = sum(p.numel() for p in model.parameters())
    result(path, "torch train", what, seconds=seconds, parameters=parameters, batch=batch)


if __name__ == "__main__":
    if sys.argv[1] == "attention":
        attention(sys.argv[2])
    else:
        train(sys.argv[2], sys.argv[1])
