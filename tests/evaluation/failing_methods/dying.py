"""Kills its process."""

import os
import signal
from typing import ClassVar

from failing_methods._marks import Failing


class Dying(Failing):
    """Takes its worker with it, as the system does that runs out of memory."""

    name: ClassVar[str] = "dying"
    summary: ClassVar[str] = "for tests: kills its process"

    def fail(self) -> None:
        """Die."""
        os.kill(os.getpid(), signal.SIGKILL)


METHOD = Dying
