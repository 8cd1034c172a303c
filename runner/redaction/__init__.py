"""Secrets are a type, and everything that is shown passes the redactor.

What is masked: the values that the redactor was told, in every look that they take on the way to
people, and whatever has the form of a secret. What overlaps is one mask.
"""

from runner.redaction.looks import SHORTEST
from runner.redaction.redactor import RedactingStream, Redactor
from runner.redaction.secret import MASK, Secret

__all__ = ["MASK", "SHORTEST", "RedactingStream", "Redactor", "Secret"]
