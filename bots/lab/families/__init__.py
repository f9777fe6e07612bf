"""The lab's task families: math, logic and code, each graded from trivial to out of reach."""

from bots.lab.families.base import Family, Problem
from bots.lab.families.programs import StackPrograms
from bots.lab.families.swaps import Swaps
from bots.lab.families.totals import RunningTotals

FAMILIES: dict[str, Family] = {
    family.domain: family for family in (RunningTotals(), Swaps(), StackPrograms())
}

__all__ = ["FAMILIES", "Family", "Problem"]
