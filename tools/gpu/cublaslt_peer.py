# SPDX-License-Identifier: MIT
"""cuBLASLt's INT8 products (torch._int_mm: int32 out, nothing done to it) on the shapes of the kernel lab: the peer
of its linears, which also scale, add outliers, spikes and bias.

    python3 tools/gpu/cublaslt_peer.py

Prints CSV rows: what, microseconds (median and best of the runs) and TOPS. Launches stand in one CUDA graph,
each with other weights, as in the lab (bench/cuda/lab_time.cc).
"""
import statistics
import torch

RUNS, POOL_BYTES = 12, 3 << 30
LANGUAGE = {"qkv": (12288, 4096), "o": (4096, 4096), "gate_up": (22016, 4096), "down": (4096, 11008)}
VISION = {"qkv": (3072, 1024), "o": (1024, 1024), "fc1": (4096, 1024), "fc2": (1024, 4096)}


def graph_of(launches):
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):           # warms the library up outside the graph
        launches()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        launches()
    return graph


def timed(graph, launches):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    times = []
    for _ in range(RUNS + 2):
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e3 / launches)
    return statistics.median(times[2:]), min(times[2:])


def main():
    pool = torch.randint(-127, 128, (POOL_BYTES,), dtype=torch.int8, device="cuda")
    for m, shapes in ((32, LANGUAGE), (308, LANGUAGE), (616, LANGUAGE), (577, VISION)):
        for name, (n, k) in shapes.items():
            x = torch.randint(-127, 128, (m, k), dtype=torch.int8, device="cuda")
            y = torch.empty((m, n), dtype=torch.int32, device="cuda")
            inner = 16 if n * k > 6e7 else 40
            weights = [pool[i * n * k:(i + 1) * n * k].view(n, k).t() for i in range(min(inner, POOL_BYTES // (n * k)))]

            def launches():
                for i in range(inner):
                    torch._int_mm(x, weights[i % len(weights)], out=y)

            median, best = timed(graph_of(launches), inner)
            print("cublaslt m %d %s,%.1f us,,\"best %.1f us; %.0f TOPS\"" % (m, name, median, best, 2e-6 * m * n * k / median), flush=True)


if __name__ == "__main__":
    main()
