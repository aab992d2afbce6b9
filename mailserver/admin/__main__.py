"""``python -m mailserver.admin`` is ``mailserverctl``."""

from __future__ import annotations

import sys

from mailserver.admin.cli import main

if __name__ == "__main__":
    sys.exit(main())
