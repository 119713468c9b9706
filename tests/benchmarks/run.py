"""`make bench`: speed against the peers, every comparison in one run on one machine.

    python tests/benchmarks/run.py [--only startup,report,neighbors,embed,training,gpu,fresh,serve,lora,generate,ingest]
                                   [--rows 10000000]

Figures on shared machines vary; the ratios are what counts. Medians of several runs where a run is short.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

import bench_embed
import bench_fresh
import bench_generate
import bench_gpu
import bench_ingest
import bench_lora
import bench_report
import bench_serve
import bench_session_knn
import bench_startup
import bench_training

from llmseq_cli.training.environment import environment

BENCHMARKS = {
    "startup": bench_startup.run,
    "report": bench_report.run,
    "neighbors": bench_session_knn.run,
    "embed": bench_embed.run,
    "training": bench_training.run,
    "gpu": bench_gpu.run,
    "fresh": bench_fresh.run,
    "serve": bench_serve.run,
    "lora": bench_lora.run,
    "generate": bench_generate.run,
    "ingest": bench_ingest.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="benchmarks to run")
    parser.add_argument("--rows", type=int, default=10_000_000, help="interactions of the ingest benchmark")
    parser.add_argument("--minutes", type=float, default=0, help="of training on the processor, to compare NDCG@20")
    parser.add_argument("--dry-gpu", action="store_true", help="run the GPU's benchmark on the CPU, small")
    parser.add_argument("--json", metavar="FILE", help="where the training benchmark's figures are written")
    options = parser.parse_args()
    about = environment("cpu")
    print(f"{about['processor']}, {about['cores']} cores, {about['platform']}")
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    for name in options.only.split(","):
        print(f"\n## {name}", flush=True)
        BENCHMARKS[name](options)


if __name__ == "__main__":
    main()
