"""``python -m imgsign``."""

import sys

from imgsign.cli import main

if __name__ == "__main__":
    sys.exit(main())
