# SPDX-License-Identifier: MIT
"""The trainer. One process a GPU; resumable; the schedule runs on seconds of training, not on steps.

    python3 -m training.train --total 1200 --run 520 --dir build/reader

trains for 520 s of a plan of 1200 s, from the checkpoint in the folder if one is there, and leaves the
checkpoint and the model (exported, Hugging Face layout) in the folder. Call again to go on.
"""
import argparse, json, math, os, subprocess, sys, time

HEADS_ALONE = 300       # steps over which new dense heads gain their say over a trained tower
STALL = 3.0             # seconds: what ten steps take beyond them (a stopped process) is not training


def parse():
    a = argparse.ArgumentParser()
    a.add_argument("--total", type=float, default=1200, help="seconds of training the whole plan has")
    a.add_argument("--run", type=float, default=520, help="seconds this call may train")
    a.add_argument("--dir", default="build/reader")
    a.add_argument("--atlas", default="/dev/shm/reader-atlas")
    a.add_argument("--batch", type=int, default=128, help="pages a step and GPU")
    a.add_argument("--workers", type=int, default=0)
    a.add_argument("--lr", type=float, default=2.5e-3)
    a.add_argument("--adam", type=float, default=1.2e-3)
    a.add_argument("--decay", type=float, default=.35, help="last share of the plan in which the rate falls to zero")
    a.add_argument("--start", help="a trained model's folder to go on from, where there is no checkpoint: no curriculum then")
    a.add_argument("--steps", type=int, default=0, help="stop after so many steps (tests)")
    a.add_argument("--gpus", type=int, default=-1)
    a.add_argument("--chrome", type=float, default=.03, help="share of browser-rendered pages, where there are any")
    a.add_argument("--faces", type=int, default=0, help="use only every Nth face (tests)")
    a.add_argument("--seed", type=int, default=0)
    a.add_argument("--eager", action="store_true")
    a.add_argument("--rank", type=int, default=-1)
    a.add_argument("--world", type=int, default=1)
    return a.parse_args()


def rate(p, decay, warm):
    """Share of the full learning rate at progress p: rise, plateau, fall to 2 %."""
    up = min(1.0, p / warm)
    down = 1.0 if p < 1 - decay else max(.02, (1 - p) / decay)
    return up * down


def launch(a):
    """Starts one process a GPU and, while they compile the model, builds the glyph atlas."""
    n = a.gpus
    if n < 0:
        n = len([l for l in subprocess.run("nvidia-smi -L", shell=True, capture_output=True, text=True).stdout.splitlines() if l.startswith("GPU ")])
    world = max(1, n)
    t0 = time.time()
    ready = os.path.join(a.atlas, "ready")
    env = dict(os.environ, MASTER_ADDR="127.0.0.1", MASTER_PORT="29577", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    procs = [subprocess.Popen([sys.executable, "-m", "training.train", *sys.argv[1:], "--rank", str(i), "--world", str(world)], env=dict(env, LOCAL_RANK=str(i)))
             for i in range(world)]
    if not os.path.exists(ready):
        from .atlas import Atlas, build
        build(a.atlas, every=max(1, a.faces))
        from .pages import Maker
        m = Maker(Atlas(a.atlas), 1)
        for _ in range(60):                     # compiles the drawing once: the workers find it cached
            m.make()
        t = time.time()
        for _ in range(60):
            m.make()
        print("a page takes %.1f ms on one core; ready after %.0f s" % ((time.time() - t) / 60 * 1e3, time.time() - t0), flush=True)
        open(ready, "w").close()
    bad = 0
    while procs:
        for p in list(procs):
            if p.poll() is not None:
                procs.remove(p)
                if p.returncode:
                    bad = p.returncode
                    for q in procs:
                        q.terminate()
        time.sleep(.2)
    sys.exit(bad)


def augment(x, r):
    """Softening or sharpening, contrast, brightness, noise; x float [B,3,S,S], r [B,6] uniform."""
    import torch, torch.nn.functional as F
    b = F.pad(x, (1, 1, 1, 1), mode="replicate")
    b = (b[..., :-2] + 2 * b[..., 1:-1] + b[..., 2:]) / 4
    b = (b[..., :-2, :] + 2 * b[..., 1:-1, :] + b[..., 2:, :]) / 4
    v = lambda t: t.view(-1, 1, 1, 1)
    amt = torch.where(r[:, 0] < .35, 0.0, torch.where(r[:, 0] < .7, -.9 * r[:, 1], .9 * r[:, 1]))
    x = x + v(amt) * (x - b)
    c = torch.where(r[:, 2] < .5, 1.0, .75 + .5 * r[:, 3])
    s = torch.where(r[:, 2] < .5, 0.0, (r[:, 4] - .5) * 40)
    x = (x - 128) * v(c) + 128 + v(s)
    n = torch.where(r[:, 5] < .55, 0.0, (r[:, 5] - .55) * 20)
    x = x + torch.randn_like(x) * v(n)
    return x.clamp(0, 255).round()


def main(a):
    rank, world = a.rank, a.world
    cores = os.cpu_count()
    from .feed import Feed, SLOT
    from .chrome_pages import ChromePages
    chrome = ChromePages.load(a.chrome)
    feed = Feed(a.workers or max(1, (cores - world) // world), 5 * a.batch // SLOT + 2 * (a.workers or cores // world), a.atlas, 77 + rank + a.seed * 10 + int(time.time()) % 100000, chrome)
    import torch, torch.distributed as dist
    from .model import Reader
    from .optim import Optim
    from .tokenizer import Packer
    import random
    cuda = torch.cuda.is_available()
    dev = torch.device("cuda", rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(dev)
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    ctl = None
    if world > 1:
        dist.init_process_group("nccl" if cuda else "gloo", rank=rank, world_size=world)
        ctl = dist.new_group(backend="gloo")
    torch.manual_seed(5)
    model = Reader(Packer(random.Random(0), 8).prefix).to(dev)
    for p in model.vt.encoder.layers[-1].parameters():      # never run: the features come from the layer before
        p.requires_grad_(False)
    for p in model.vt.post_layernorm.parameters():
        p.requires_grad_(False)
    opt = Optim(model)
    os.makedirs(a.dir, exist_ok=True)
    ck = os.path.join(a.dir, "checkpoint.pt")
    done, seen, step0 = 0.0, 0, 0
    fresh = True
    if os.path.exists(ck):
        d = torch.load(ck, map_location=dev, weights_only=False)
        model.load_state_dict(d["model"], strict=False)
        if d.get("optim"):
            opt.load_state_dict(d["optim"])
            fresh = False
        done, seen, step0 = d["done"], d["seen"], d["step"]
        if rank == 0:
            print("resumed after %.0f s, %d pages" % (done, seen), flush=True)
    if a.start and fresh and not done:
        from .export import read
        read(model.hf, a.start)
        if rank == 0:
            print("goes on from", a.start, flush=True)
    torch.manual_seed(1000 * rank + step0)
    if cuda:                                                # pin the slots where they lie
        import ctypes
        addr = ctypes.addressof(ctypes.c_char.from_buffer(feed.buf))
        torch.cuda.cudart().cudaHostRegister(addr, len(feed.buf), 0)
    tens = [{k: torch.from_numpy(v.view("int16") if v.dtype == "uint16" else v) for k, v in s.items()} for s in feed.slots]

    def step_fn(img, r, ids, tgt, seg, pos, wt, glyph, role, dense):
        B = img.shape[0]
        x = augment(img.permute(0, 3, 1, 2).float(), r)
        cells = lambda t: t.view(B, 28, 2, 28, 4).permute(0, 1, 3, 2, 4).reshape(B, 784, 8).long()
        return model(x, ids.long(), tgt.long(), seg.long(), pos.long(), wt, cells(glyph), cells(role), dense)

    fn = step_fn if a.eager or not cuda else torch.compile(step_fn)
    B = a.batch
    nslots = B // SLOT
    copy = torch.cuda.Stream() if cuda else None

    def fetch():
        """The next batch on the device (copied on a side stream), and its slots."""
        ks = []
        out = {}
        for i in range(nslots):
            k, _ = feed.next()
            ks.append(k)
        if cuda:
            with torch.cuda.stream(copy):
                for name in tens[0]:
                    out[name] = torch.cat([tens[k][name].to(dev, non_blocking=True) for k in ks])
                ev = torch.cuda.Event()
                ev.record(copy)
        else:
            for name in tens[0]:
                out[name] = torch.cat([tens[k][name] for k in ks])
            ev = None
        return out, ev, ks

    if cuda and not a.eager:                                # compile while the atlas is being built
        t0 = time.time()
        z = {k: torch.zeros((B,) + tuple(v.shape[1:]), dtype=v.dtype, device=dev) for k, v in tens[0].items()}
        z["tgt"][:, 3], z["seg"][:, :8], z["wt"][:, 3] = 5, 1, 1.0
        with torch.autocast(dev.type, torch.bfloat16):
            l = fn(z["img"], torch.rand(B, 6, device=dev), z["ids"], z["tgt"], z["seg"], z["pos"], z["wt"], z["glyph"], z["role"], torch.zeros((), device=dev))
            (l[0] + l[1] + l[2]).backward()
        opt.flat.zero_()
        torch.cuda.synchronize()
        if rank == 0:
            print("compiled in %.0f s" % (time.time() - t0), flush=True)
    offset = .5 if a.start else 0.0                         # of the curriculum: a trained reader skips it
    stage = lambda p: offset + (1 - offset) * min(1.0, p)
    feed.progress.value = stage(done / a.total)
    pending = [fetch()]
    t0 = tick = None
    elapsed, k, log = 0.0, 0, []
    last = time.time()
    wait = 0.0
    hist = open(os.path.join(a.dir, "log.txt"), "a")
    stop = False

    def save(final=False):
        if rank == 0:
            d = {"model": {n: v for n, v in model.state_dict().items()}, "optim": opt.state_dict(), "done": done + elapsed, "seen": seen, "step": step0 + k}
            torch.save(d, ck + ".tmp")
            os.replace(ck + ".tmp", ck)

    next_save = 75.0
    while not stop:
        w0 = time.time()
        pending.append(fetch())
        wait += time.time() - w0
        batch, ev, ks = pending.pop(0)
        if cuda:
            torch.cuda.current_stream().wait_event(ev)
            for v in batch.values():
                v.record_stream(torch.cuda.current_stream())
        r = torch.rand(B, 6, device=dev)
        with torch.autocast(dev.type, torch.bfloat16, enabled=cuda):
            tl, gl, rl, acc = fn(batch["img"], r, batch["ids"], batch["tgt"], batch["seg"], batch["pos"], batch["wt"], batch["glyph"], batch["role"], torch.tensor(min(1.0, k / HEADS_ALONE) if a.start and step0 == 0 else 1.0, device=dev))
            loss = tl + gl + .5 * rl
        loss.backward()
        if cuda:
            ev.synchronize()
        for q in ks:
            feed.release(q)
        if world > 1:
            dist.all_reduce(opt.flat)
        p = (done + elapsed) / a.total
        s = rate(p, a.decay, .012)
        if not fresh or k > 150:
            warm = 1.0
        else:
            warm = (k + 1) / 150
        gn = opt.step(a.lr * s * warm, a.adam * s * warm, world)
        k += 1
        seen += B * world
        log.append(torch.stack([tl.detach().float(), gl.detach().float(), rl.detach().float(), acc.detach().float(), gn.float()]))
        if t0 is None:
            if cuda:
                torch.cuda.synchronize()
            t0 = tick = time.time()
            if rank == 0:
                print("first step done", flush=True)
        if k % 10 == 0 or a.steps:
            now = time.time()
            t0 += max(0.0, now - tick - STALL)
            tick = now
            e = torch.tensor([now - t0])
            if ctl is not None:
                dist.broadcast(e, 0, group=ctl)
            elapsed = float(e)
            feed.progress.value = stage((done + elapsed) / a.total)
            stop = elapsed >= a.run or done + elapsed >= a.total or (a.steps and k >= a.steps)
            if len(log) >= 250 or stop or (a.steps and k % 20 == 0):
                v = torch.stack(log).mean(0).tolist()
                n = len(log)
                line = "%6.0f s  step %6d  pages %8d  text %.4f  acc %.4f  glyph %.4f  role %.4f  norm %.2f  %5.0f pages/s  waited %.0f %%" % (
                    done + elapsed, step0 + k, seen, v[0], v[3], v[1], v[2], v[4], n * B * world / max(1e-3, time.time() - last), 100 * wait / max(1e-3, time.time() - last))
                last, wait, log = time.time(), 0.0, []
                if rank == 0:
                    print(line, flush=True)
                    hist.write(line + "\n")
                    hist.flush()
            if elapsed > next_save and not stop:
                next_save += 75
                save()
    save(True)
    feed.stop()
    if rank == 0:
        from .export import write
        write(model.hf, os.path.join(a.dir, "model"))
        print("trained %.0f s of %.0f, %d pages" % (done + elapsed, a.total, seen), flush=True)
    if world > 1:
        dist.barrier(group=ctl)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    args = parse()
    if args.rank < 0:
        launch(args)
    else:
        main(args)
