"""``python -m ckpttool``."""

from ckpttool.cli.app import main

if __name__ == "__main__":
    main()
