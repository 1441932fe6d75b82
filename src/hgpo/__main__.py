"""`python -m hgpo`, by which `accelerate launch -m hgpo train …` starts it on several GPUs."""

import sys

from hgpo.cli import main

if __name__ == "__main__":
    sys.exit(main())
