"""The version: here alone, so that bundles and reports can name it without the package's face."""

__version__ = "0.1.0"
