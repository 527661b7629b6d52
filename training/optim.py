# SPDX-License-Identifier: MIT
"""Muon for the matrices of the blocks (momentum, orthogonalised), AdamW for everything else."""
import torch


@torch.no_grad()
def orthogonal(g):
    """Newton-Schulz towards the nearest semi-orthogonal matrix, a batch [n, a, b] at a time, in bf16."""
    x = g.bfloat16()
    flip = x.shape[1] > x.shape[2]
    if flip:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        b = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, b, x, beta=3.4445, alpha=1.0)
    return x.mT if flip else x


class Optim:
    """Both optimisers over a model; one flat gradient buffer that can be summed over processes at once."""

    def __init__(self, model, wd=.05):
        self.params = [p for p in model.parameters() if p.requires_grad]
        names = {id(p): n for n, p in model.named_parameters()}
        n = sum(p.numel() for p in self.params)
        dev = self.params[0].device
        self.flat = torch.zeros(n, device=dev)
        off = 0
        for p in self.params:
            p.grad = self.flat[off:off + p.numel()].view_as(p)
            off += p.numel()
        self.muon, rest = {}, []
        for p in self.params:
            if p.dim() == 2 and (".layers." in names[id(p)] or "projector" in names[id(p)]):
                self.muon.setdefault(tuple(p.shape), []).append(p)
            else:
                rest.append(p)
        self.mom = {s: torch.zeros((len(ps),) + s, device=dev) for s, ps in self.muon.items()}
        decay = [p for p in rest if p.dim() > 1]
        plain = [p for p in rest if p.dim() <= 1]
        self.adam = torch.optim.AdamW([{"params": decay, "weight_decay": wd}, {"params": plain, "weight_decay": 0.0}],
                                      lr=1e-3, betas=(.9, .97), eps=1e-8, fused=dev.type == "cuda")
        self.wd = wd

    @torch.no_grad()
    def step(self, lr_muon, lr_adam, world=1):
        self.flat.nan_to_num_(0.0, 0.0, 0.0)
        norm = self.flat.norm() / world
        self.flat.mul_((1.0 / world) * torch.clamp(1.0 / (norm + 1e-6), max=1.0))
        for s, ps in self.muon.items():
            g = torch.stack([p.grad for p in ps])
            m = self.mom[s]
            m.lerp_(g, .05)
            u = orthogonal(g.lerp_(m, .95))
            k = .2 * max(s) ** .5 * lr_muon
            torch._foreach_mul_(ps, 1 - lr_muon * self.wd)
            torch._foreach_add_(ps, list(u.float().unbind(0)), alpha=-k)
        for g in self.adam.param_groups:
            g["lr"] = lr_adam
        self.adam.step()
        self.flat.zero_()
        return norm

    def state_dict(self):
        return {"mom": {str(k): v for k, v in self.mom.items()}, "adam": self.adam.state_dict()}

    def load_state_dict(self, d):
        for k in self.mom:
            self.mom[k].copy_(d["mom"][str(k)])
        self.adam.load_state_dict(d["adam"])
