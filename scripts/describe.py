"""Print what MSPF is at a width: parameters, multiply-adds, and the shape of every tensor that the paper names.

python scripts/describe.py --width 1.0
"""

import argparse

import torch

from mspf.complexity import count_macs, count_parameters, trace_rows
from mspf.network import MSPF, MSPFConfig
from mspf.osnet import OSNet


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=1.0, help="1.0, 0.75, 0.5 or 0.25")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 128), metavar=("HEIGHT", "WIDTH"))
    options = parser.parse_args()

    images = torch.zeros(1, 3, *options.size)
    osnet = OSNet(options.width)
    network = MSPF(MSPFConfig(width=options.width, compact=0))
    run_time = MSPF(MSPFConfig(width=options.width, pool_first=True))
    named = {"OSNet": osnet, "MSPF": network, "MSPF at run time (stripes pooled first, compact head)": run_time}
    for name, module in named.items():
        print(f"{name}: {count_parameters(module):,} parameters, {count_macs(module, images):,} multiply-adds")
    for row in trace_rows(run_time, images):
        print(f"  {row.name:16} {'x'.join(map(str, row.shape))}")


if __name__ == "__main__":
    main()
