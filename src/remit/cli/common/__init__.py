"""What several commands share.

The package is wide because each file is one small thing that commands import when they run, and no more.
"""
