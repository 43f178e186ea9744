"""``python -m imgsign``."""

from imgsign.cli import run

if __name__ == "__main__":
    run()
