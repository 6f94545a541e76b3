"""azr_gym: Absolute Zero self-play as Gymnasium environments.

This release holds the ground they stand on: the sandbox (`azr_sandbox`) and the `azr` command.
"""

__version__ = "0.1.0"
