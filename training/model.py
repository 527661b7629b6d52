# SPDX-License-Identifier: MIT
"""The model: transformers' LlavaForConditionalGeneration in a small configuration, and a fast forward.

Reader holds the transformers model and uses its modules, so that whatever is trained is by construction
a LLaVA checkpoint; its forward() is written for training: one image, many question segments packed into
one sequence, with the dense heads (which glyph and which kind of text a patch shows) on the very hidden
state that the projector reads. The dense heads are not part of the checkpoint.
"""
import math
import torch, torch.nn as nn, torch.nn.functional as F
from .common import (BOS, CLIP_MEAN, CLIP_STD, EOS, GRID, IMAGE_TOKENS, IMG, NCLASS, NROLE, PAD, PATCH, SIZE, VOCAB)

VISION = dict(hidden_size=320, intermediate_size=1280, num_hidden_layers=7, num_attention_heads=5)
TEXT = dict(hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=4)


def config():
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig
    v = CLIPVisionConfig(image_size=SIZE, patch_size=PATCH, hidden_act="quick_gelu", layer_norm_eps=1e-5, projection_dim=VISION["hidden_size"], **VISION)
    t = LlamaConfig(vocab_size=VOCAB, max_position_embeddings=2048, rms_norm_eps=1e-5, hidden_act="silu", bos_token_id=BOS,
                    eos_token_id=EOS, pad_token_id=PAD, tie_word_embeddings=False, attention_bias=False, **TEXT)
    return LlavaConfig(vision_config=v, text_config=t, image_token_index=IMG, image_token_id=IMG, projector_hidden_act="gelu", vision_feature_layer=-2,
                       vision_feature_select_strategy="default", image_seq_length=IMAGE_TOKENS, tie_word_embeddings=False)


def build():
    """A freshly initialised transformers model."""
    from transformers import LlavaForConditionalGeneration
    cfg = config()
    cfg.vision_config._attn_implementation = cfg.text_config._attn_implementation = "sdpa"
    m = LlavaForConditionalGeneration(cfg)
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for n, p in m.named_parameters():
            if p.dim() >= 2 and "position_embedding" not in n:
                p.normal_(0, 0.02 if "embed_tokens" in n or "lm_head" in n else 1 / math.sqrt(p[0].numel()) * .8, generator=g)
                if n.endswith(("out_proj.weight", "fc2.weight", "o_proj.weight", "down_proj.weight")):
                    p.mul_(.4)
            elif "position_embedding" in n:
                p.normal_(0, .02, generator=g)
            elif n.endswith("bias"):
                p.zero_()
    return m


def rope(pos, dim, theta):
    inv = theta ** (-torch.arange(0, dim, 2, device=pos.device, dtype=torch.float32) / dim)
    a = pos[..., None].float() * inv
    a = torch.cat([a, a], -1)
    return a.cos(), a.sin()


def rotate(x, cos, sin):
    h = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., h:], x[..., :h]], -1) * sin


def fused(x, *layers):
    """Several linear layers over one input as one product."""
    w = torch.cat([l.weight for l in layers])
    b = torch.cat([l.bias for l in layers]) if layers[0].bias is not None else None
    return F.linear(x, w, b)


class Reader(nn.Module):
    def __init__(self, prefix, hf=None):
        super().__init__()
        self.hf = hf or build()
        vd = VISION["hidden_size"]
        self.glyph = nn.Linear(vd, 8 * NCLASS)
        self.role = nn.Linear(vd, 8 * NROLE)
        nn.init.normal_(self.glyph.weight, 0, .02)
        nn.init.normal_(self.role.weight, 0, .02)
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("prefix", torch.tensor([BOS] + list(prefix)), persistent=False)
        self.npre = 1 + len(prefix)

    # modules by role, whatever the version of transformers calls them
    @property
    def vt(self):
        v = self.hf.model.vision_tower
        return getattr(v, "vision_model", v)

    def tower(self, x):
        """Hidden state of vision_feature_layer -2, class token dropped: [B, 784, d]."""
        vt = self.vt
        e = vt.embeddings
        x = e.patch_embedding(x).flatten(2).transpose(1, 2)
        x = torch.cat([e.class_embedding.expand(x.shape[0], 1, -1).to(x.dtype), x], 1) + e.position_embedding.weight
        x = vt.pre_layrnorm(x)
        H = VISION["num_attention_heads"]
        for l in vt.encoder.layers[:-1]:
            B, T, D = x.shape
            a, h = l.self_attn, l.layer_norm1(x)
            q, k, v = fused(h, a.q_proj, a.k_proj, a.v_proj).view(B, T, 3, H, D // H).permute(2, 0, 3, 1, 4)
            x = x + a.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, T, D))
            h = l.mlp.fc1(l.layer_norm2(x))
            x = x + l.mlp.fc2(h * torch.sigmoid(1.702 * h))
        return x[:, 1:]

    def project(self, x):
        p = self.hf.model.multi_modal_projector
        return p.linear_2(F.gelu(p.linear_1(x)))

    def forward(self, img, ids, tgt, seg, pos, wt, glyph, role, dense=1.0):
        """img u8 or float [B,3,S,S] (0..255); the rest as Packer and Maker give it; dense: share of the
        dense heads' gradient that reaches the tower. Returns the losses (text, glyph, role) and the text
        loss' token accuracy."""
        x = self.tower((img.float() - self.mean) / self.std)
        # dense supervision
        xd = x.detach() + dense * (x - x.detach())
        gl = self.glyph(xd).view(-1, NCLASS)
        gt, ro = glyph.view(-1), role.view(-1)
        known = ro < NROLE                       # pages from the browser come without dense labels
        gt, ro = torch.where(known, gt, 0), torch.where(known, ro, 0)
        tiny = gt >= NCLASS                      # text too small to name its glyphs: only its role is taught
        gt = torch.where(tiny, 0, gt)
        w = torch.where(gt == 0, .08, torch.where(ro == 6, .5, 1.0)) * (known & ~tiny)
        gloss = (F.cross_entropy(gl.float(), gt, reduction="none") * w).sum() / w.sum()
        rw = torch.where(ro == 0, .1, torch.where(ro == 6, .5, 1.0)) * known
        rloss = (F.cross_entropy(self.role(xd).view(-1, NROLE).float(), ro, reduction="none") * rw).sum() / rw.sum()
        # text
        lm = self.hf.model.language_model
        z = self.project(x)
        B, T = ids.shape
        N = self.npre + IMAGE_TOKENS
        emb = lm.embed_tokens
        y = torch.cat([emb(self.prefix).expand(B, -1, -1).to(z.dtype), z, emb(ids).to(z.dtype)], 1)
        p = torch.cat([torch.arange(N, device=y.device).expand(B, N), N + pos], 1)
        H = TEXT["num_attention_heads"]
        dh = TEXT["hidden_size"] // H
        cos, sin = rope(p, dh, 10000.0)
        cos, sin = cos[:, None].to(y.dtype), sin[:, None].to(y.dtype)
        t = torch.arange(T, device=y.device)
        own = (seg[:, :, None] == seg[:, None, :]) & (t[:, None] >= t[None, :])
        mask = torch.cat([torch.ones(B, T, N, dtype=torch.bool, device=y.device), own], 2)
        mask = torch.zeros(B, 1, T, N + T, device=y.device, dtype=y.dtype).masked_fill_(~mask[:, None], float("-inf"))
        for l in lm.layers:
            h = l.input_layernorm(y)
            a = l.self_attn
            q, k, v = fused(h, a.q_proj, a.k_proj, a.v_proj).view(B, N + T, 3, H, dh).permute(2, 0, 3, 1, 4)
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
            o1 = F.scaled_dot_product_attention(q[:, :, :N], k[:, :, :N], v[:, :, :N], is_causal=True)
            o2 = F.scaled_dot_product_attention(q[:, :, N:], k, v, attn_mask=mask)
            o = torch.cat([o1, o2], 2).transpose(1, 2).reshape(B, N + T, -1)
            y = y + a.o_proj(o)
            h = l.post_attention_layernorm(y)
            gate, up = fused(h, l.mlp.gate_proj, l.mlp.up_proj).chunk(2, -1)
            y = y + l.mlp.down_proj(F.silu(gate) * up)
        lg = self.hf.lm_head(lm.norm(y[:, N:])).float()
        ok = tgt >= 0
        ww = torch.where(ok, wt, 0.0)
        ce = F.cross_entropy(lg.view(-1, VOCAB), tgt.clamp(min=0).view(-1), reduction="none").view(B, T)
        tloss = (ce * ww).sum() / ww.sum()
        acc = ((lg.argmax(-1) == tgt) & ok).sum() / ok.sum()
        return tloss, gloss, rloss, acc
