"""`python -m hgpo`, with which `accelerate launch -m hgpo train …` starts a run on several GPUs."""

import sys

from hgpo.cli import main

if __name__ == "__main__":
    sys.exit(main())
