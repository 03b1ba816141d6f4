"""Build TensorRT plans: python scripts/build_trt.py MODEL... [--precision f16] [--max-batch 64] [--engine-dir DIR]

The same as `mspf-pipeline build`; --help lists everything.
"""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    sys.argv[:1] = ["mspf-pipeline", "build"]
    main()
